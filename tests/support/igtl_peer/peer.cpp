// A scanner and a viewer made of the OpenIGTLink library, to test edge-bts-igtl against.
//
//   igtl_peer serve PORT FILE WIDTH HEIGHT COMPONENTS COUNT FPS
//     Waits for one client and sends COUNT images, image k being the k-th of FILE (over and over),
//     with k and a half seconds as its time, 0.1 mm a pixel and a position that depends on k.
//   igtl_peer view PORT OUT
//     Connects, prints a line for every message, and writes the pixels of images to OUT
//     before their line; ends when the server is gone.
#include <igtlClientSocket.h>
#include <igtlImageMessage.h>
#include <igtlMessageHeader.h>
#include <igtlOSUtil.h>
#include <igtlServerSocket.h>
#include <igtlStringMessage.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

namespace {

int serve(char** argv) {
    std::ifstream file(argv[1], std::ios::binary);
    const std::vector<char> all((std::istreambuf_iterator<char>(file)), {});
    int size[] = {std::atoi(argv[2]), std::atoi(argv[3]), 1};
    const int components = std::atoi(argv[4]);
    const int count = std::atoi(argv[5]);
    const std::chrono::duration<double> period(1.0 / std::atof(argv[6]));
    const std::size_t bytes = std::size_t(size[0]) * size[1] * components;

    auto server = igtl::ServerSocket::New();
    if (server->CreateServer(std::atoi(argv[0])) != 0) return 1;
    std::printf("ready\n");
    std::fflush(stdout);
    igtl::Socket::Pointer client;
    while (client.IsNull()) client = server->WaitForConnection(1000);
    auto due = std::chrono::steady_clock::now();
    for (int k = 0; k < count; ++k) {
        std::this_thread::sleep_until(due);
        due += std::chrono::duration_cast<std::chrono::steady_clock::duration>(period);
        auto image = igtl::ImageMessage::New();
        image->SetDimensions(size);
        image->SetNumComponents(components);
        image->SetScalarType(igtl::ImageMessage::TYPE_UINT8);
        image->SetCoordinateSystem(k % 2 ? igtl::ImageMessage::COORDINATE_LPS
                                         : igtl::ImageMessage::COORDINATE_RAS);
        image->SetDeviceName("Image_Image");
        image->AllocateScalars();
        std::memcpy(image->GetScalarPointer(), all.data() + k * bytes % all.size(), bytes);
        igtl::Matrix4x4 matrix = {{1, 0, 0, float(k)}, {0, 1, 0, 1}, {0, 0, 1, 2}, {0, 0, 0, 1}};
        image->SetMatrix(matrix);
        image->SetSpacing(0.1f, 0.1f, 1);
        auto time = igtl::TimeStamp::New();
        time->SetTime(std::uint32_t(k), std::uint32_t(500000000));
        image->SetTimeStamp(time);
        image->Pack();
        if (!client->Send(image->GetPackPointer(), image->GetPackSize())) return 1;
    }
    std::getchar();  // the connection ends when the test says so
    client->CloseSocket();
    return 0;
}

int view(char** argv) {
    auto client = igtl::ClientSocket::New();
    if (client->ConnectToServer("127.0.0.1", std::atoi(argv[0])) != 0) return 1;
    std::printf("ready\n");
    std::fflush(stdout);
    std::ofstream out(argv[1], std::ios::binary);
    for (;;) {
        auto header = igtl::MessageHeader::New();
        header->InitPack();
        if (client->Receive(header->GetPackPointer(), header->GetPackSize()) <= 0) break;
        header->Unpack();
        const std::string type = header->GetDeviceType();
        igtl::TimeStamp::Pointer time = igtl::TimeStamp::New();
        header->GetTimeStamp(time);
        std::printf("%s %s %.6f", type.c_str(), header->GetDeviceName(), time->GetTimeStamp());
        if (type == "IMAGE") {
            auto image = igtl::ImageMessage::New();
            image->SetMessageHeader(header);
            image->AllocatePack();
            client->Receive(image->GetPackBodyPointer(), image->GetPackBodySize());
            const bool good = (image->Unpack(1) & igtl::MessageHeader::UNPACK_BODY) != 0;
            int size[3];
            image->GetDimensions(size);
            igtl::Matrix4x4 matrix;
            float spacing[3];
            image->GetSpacing(spacing);
            image->GetMatrix(matrix);
            std::printf(
                " %s %d %d %d %s %g %g", good ? "good" : "bad", size[0], size[1], size[2],
                image->GetCoordinateSystem() == igtl::ImageMessage::COORDINATE_LPS ? "LPS" : "RAS",
                spacing[0], matrix[0][3]);
            out.write(static_cast<const char*>(image->GetScalarPointer()), image->GetImageSize());
            out.flush();
        } else if (type == "STRING") {
            auto text = igtl::StringMessage::New();
            text->SetMessageHeader(header);
            text->AllocatePack();
            client->Receive(text->GetPackBodyPointer(), text->GetPackBodySize());
            const bool good = (text->Unpack(1) & igtl::MessageHeader::UNPACK_BODY) != 0;
            std::printf(" %s %s", good ? "good" : "bad", text->GetString());
        } else {
            client->Skip(header->GetBodySizeToRead(), 0);
        }
        std::printf("\n");
        std::fflush(stdout);
    }
    client->CloseSocket();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 9 && std::strcmp(argv[1], "serve") == 0) return serve(argv + 2);
    if (argc == 4 && std::strcmp(argv[1], "view") == 0) return view(argv + 2);
    return 2;
}
