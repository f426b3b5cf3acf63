// A CUDA runtime without a GPU: what is put into a stream runs when somebody waits for it, so that
// who forgets to wait finds nothing there.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>

namespace fake_cuda {

struct Device {
    std::string name = "Orin";
    int major = 8;
    int minor = 7;
    int sm_count = 8;
    bool integrated = true;
    bool there = true;
};

/// Everything as it was at the start of the program: what still lives is forgotten, not freed.
void reset();

Device& device();

/// Lets the `number`-th call from now on fail with `status`, of all calls or those of `name`;
/// 0: none.
void fail(int number, cudaError_t status = cudaErrorUnknown, const std::string& name = "");

/// Whether this call is the one that fail() named; for those that are made elsewhere.
bool fails(const char* name);

/// Whether the call that fail() named came.
bool failed();

/// Streams, graphs and pieces of memory that are not given back.
int living();

int captures();  ///< Graphs that were instantiated.
int graph_launches();
int copies();  ///< Of memory, that ran.

/// Puts work into a stream, or into the graph that is recorded there.
void put(cudaStream_t stream, std::function<void()> work);

bool records(cudaStream_t stream);          ///< Whether a graph is recorded there.
bool is_device_memory(const void* memory);  ///< By cudaMalloc.
bool is_mapped(const void* memory);

}  // namespace fake_cuda
