// A TensorRT without a GPU: an engine whose probability is its input, on the CUDA of fake_cuda.hpp.
// It implements the classes of whatever headers it is compiled with.
#pragma once

#include <NvInferRuntime.h>

#include <string>
#include <vector>

namespace fake_tensorrt {

struct Port {
    std::string name;
    nvinfer1::TensorIOMode mode = nvinfer1::TensorIOMode::kNONE;
    nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
    std::vector<int> shape;
    nvinfer1::TensorFormat format = nvinfer1::TensorFormat::kLINEAR;
};

struct State {
    int version[4];  ///< Of the library; that of the headers unless changed.
    std::vector<Port> ports;
    bool starts = true;
    bool takes_plan = true;
    bool makes_context = true;
    bool takes_address = true;
    bool captures = true;  ///< Else enqueueV3 fails while a graph is recorded.
    int fails_at = 0;      ///< The number of the enqueueV3 from now that fails; 0: none.
    float gain = 1;        ///< Of the network; 1 is what it was exported as.
    std::string warning;   ///< Told when an engine is taken.

    std::vector<std::string> calls;  ///< "start", "deserialize", "context"
    int enqueued = 0;
    int living = 0;                     ///< Objects that are not deleted.
    std::vector<cudaStream_t> streams;  ///< Of every enqueueV3.
};

State& state();

/// As at the start of the program, with an engine of that side.
void reset(int side);

}  // namespace fake_tensorrt
