// Of the public C interface of Clarius' Cast 12.2.4 what runtime/examples/clarius_cast.cpp uses,
// with the names, types and order of its headers, so that the example is compiled and run without
// Cast.
//
// The interface is Clarius' (https://github.com/clariusdev/cast), under this licence:
//
// BSD 3-Clause License
//
// Copyright (c) 2020, Clarius Mobile Health
// All rights reserved.
//
// Redistribution and use in source and binary forms, with or without
// modification, are permitted provided that the following conditions are met:
//
// 1. Redistributions of source code must retain the above copyright notice, this
//    list of conditions and the following disclaimer.
//
// 2. Redistributions in binary form must reproduce the above copyright notice,
//    this list of conditions and the following disclaimer in the documentation
//    and/or other materials provided with the distribution.
//
// 3. Neither the name of the copyright holder nor the names of its
//    contributors may be used to endorse or promote products derived from
//    this software without specific prior written permission.
//
// THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
// AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
// IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
// DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
// FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
// DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
// SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
// CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
// OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
// OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
#pragma once

#define CUS_MAXTGC 10
#define CUS_SUCCESS 0
#define CUS_FAILURE (-1)

typedef enum _CusImageFormat { Uncompressed, Uncompressed8Bit, Jpeg, Png } CusImageFormat;

typedef enum _CusMeasurementType {
    CusMeasurementTypeDistance = 1,
    CusMeasurementTypeTraceDistance,
    CusMeasurementTypeTraceArea
} CusMeasurementType;

typedef struct _CusTgcInfo {
    double depth;
    double gain;
} CusTgcInfo;

typedef struct _CusProcessedImageInfo {
    int width;
    int height;
    int bitsPerPixel;
    int imageSize;
    double micronsPerPixel;
    double originX;
    double originY;
    long long int tm;
    double angle;
    double fps;
    int overlay;
    CusImageFormat format;
    CusTgcInfo tgc[CUS_MAXTGC];
} CusProcessedImageInfo;

typedef struct _CusPosInfo CusPosInfo;
typedef struct _CusRawImageInfo CusRawImageInfo;
typedef struct _CusSpectralImageInfo CusSpectralImageInfo;
typedef enum _CusButton { ButtonUp, ButtonDown, ButtonHandle } CusButton;

typedef void (*CusConnectFn)(int imagePort, int imuPort, int swRevMatch);
typedef void (*CusReturnFn)(int retCode);
typedef void (*CusNewRawImageFn)(const void* img, const CusRawImageInfo* nfo, int npos,
                                 const CusPosInfo* pos);
typedef void (*CusNewProcessedImageFn)(const void* img, const CusProcessedImageInfo* nfo, int npos,
                                       const CusPosInfo* pos);
typedef void (*CusNewSpectralImageFn)(const void* img, const CusSpectralImageInfo* nfo);
typedef void (*CusFreezeFn)(int state);
typedef void (*CusButtonFn)(CusButton btn, int clicks);
typedef void (*CusProgressFn)(int progress);
typedef void (*CusErrorFn)(const char* msg);
typedef void (*CusNewImuDataFn)(const CusPosInfo* pos);

typedef struct _CusInitParams {
    struct Args {
        int argc;
        char** argv;
    } args;
    const char* storeDir;
    CusNewProcessedImageFn newProcessedImageFn;
    CusNewRawImageFn newRawImageFn;
    CusNewSpectralImageFn newSpectralImageFn;
    CusNewImuDataFn newImuDataFn;
    CusFreezeFn freezeFn;
    CusButtonFn buttonFn;
    CusProgressFn progressFn;
    CusErrorFn errorFn;
    int width;
    int height;
} CusInitParams;

#ifdef __cplusplus
extern "C" {
#endif

int castInit(const CusInitParams* params);
CusInitParams castDefaultInitParams(void);
int castDestroy(void);
int castConnect(const char* ipAddress, unsigned int port, const char* cert, CusConnectFn fn);
int castIsConnected(void);
int castSeparateOverlays(int en);
int castSetFormat(CusImageFormat format);
int castStartCapture(long long int timestamp);
int castAddImageOverlay(int id, const void* data, int width, int height, float red, float green,
                        float blue, float alpha);
int castAddMeasurement(int id, CusMeasurementType type, const char* label, const double* pts,
                       int count);
int castFinishCapture(int id, CusReturnFn fn);

#ifdef __cplusplus
}
#endif
