// edge_bts._native: the core under NumPy arrays, without a copy. edge_bts/geometry.py checks the
// arguments and is what users import.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>

#include "arrays.hpp"
#include "edge_bts/geometry.hpp"

namespace nb = nanobind;
using edge_bts::NewArray;
using edge_bts::Output;

namespace {

template <typename T>
using Input = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// The signatures of these adapters take nothing but what nanobind converts; the GIL is released
// between the last look at Python objects and the making of the result.

template <typename T>
edge_bts::Plane<T> plane(const NewArray<T>& array) {
    return {array.data.get(), static_cast<std::ptrdiff_t>(array.width)};
}

template <typename T>
edge_bts::Plane<const T> plane(const Input<T>& array) {
    return {array.data(), static_cast<std::ptrdiff_t>(array.shape(1))};
}

edge_bts::Geometry geometry_of(const Input<std::uint8_t>& image, int size) {
    return {static_cast<int>(image.shape(0)), static_cast<int>(image.shape(1)), size};
}

Output<std::uint8_t> letterbox(Input<std::uint8_t> image, int size) {
    const auto in = plane(image);
    edge_bts::Geometry geometry = geometry_of(image, size);
    const auto side = static_cast<std::size_t>(size);
    NewArray<std::uint8_t> square(side, side);
    {
        nb::gil_scoped_release unlocked;
        geometry.letterbox(in, plane(square));
    }
    return square.release();
}

Output<std::uint8_t> letterbox_mask(Input<std::uint8_t> mask, int size) {
    const auto in = plane(mask);
    edge_bts::Geometry geometry = geometry_of(mask, size);
    const auto side = static_cast<std::size_t>(size);
    NewArray<std::uint8_t> square(side, side);
    {
        nb::gil_scoped_release unlocked;
        geometry.letterbox_mask(in, plane(square));
    }
    return square.release();
}

Output<float> normalise(Input<std::uint8_t> image, float mean, float std) {
    const edge_bts::Normaliser normaliser(mean, std);
    NewArray<float> out(image.shape(0), image.shape(1));
    {
        nb::gil_scoped_release unlocked;
        normaliser(image.data(), image.size(), out.data.get());
    }
    return out.release();
}

Output<float> to_source(Input<float> probability, int source_height, int source_width) {
    if (probability.shape(0) != probability.shape(1)) {
        throw nb::value_error("Expected a square probability map.");
    }
    edge_bts::Geometry geometry(source_height, source_width,
                                static_cast<int>(probability.shape(0)));
    const auto in = plane(probability);
    NewArray<float> out(static_cast<std::size_t>(source_height),
                        static_cast<std::size_t>(source_width));
    {
        nb::gil_scoped_release unlocked;
        geometry.to_source(in, plane(out));
    }
    return out.release();
}

Output<std::uint8_t> threshold(Input<float> probability, float value) {
    NewArray<std::uint8_t> mask(probability.shape(0), probability.shape(1));
    {
        nb::gil_scoped_release unlocked;
        edge_bts::threshold(probability.data(), probability.size(), value, mask.data.get());
    }
    return mask.release();
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The C++ core; edge_bts.geometry checks the arguments and calls it.";
    m.attr("__version__") = EDGE_BTS_VERSION;
    m.attr("compiler") = EDGE_BTS_COMPILER;
    m.attr("runtime_missing") = EDGE_BTS_RUNTIME_MISSING;  // why there is no _runtime beside it
    m.attr("openvino") = EDGE_BTS_OPENVINO_VERSION;        // with which _runtime was built
    m.def("letterbox", &letterbox, nb::arg("image").noconvert(), nb::arg("size"));
    m.def("letterbox_mask", &letterbox_mask, nb::arg("mask").noconvert(), nb::arg("size"));
    m.def("normalise", &normalise, nb::arg("image").noconvert(), nb::arg("mean"), nb::arg("std"));
    m.def("to_source", &to_source, nb::arg("probability").noconvert(), nb::arg("source_height"),
          nb::arg("source_width"));
    m.def("threshold", &threshold, nb::arg("probability").noconvert(), nb::arg("value"));
}
