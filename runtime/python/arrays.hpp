// New NumPy arrays: made without the GIL, handed over with it.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <memory>

namespace edge_bts {

template <typename T>
using Output = nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<2>>;

/// Rows times columns of `T`, not initialised.
template <typename T>
struct NewArray {
    NewArray(std::size_t rows, std::size_t columns)
        : height(rows), width(columns), data(new T[rows * columns]) {}

    /// Gives the memory to a NumPy array. Needs the GIL.
    Output<T> release() {
        nanobind::capsule owner(data.get(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
        return Output<T>(data.release(), {height, width}, owner);
    }

    std::size_t height;
    std::size_t width;
    std::unique_ptr<T[]> data;
};

}  // namespace edge_bts
