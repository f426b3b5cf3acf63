// edge_bts._runtime: libedge_bts under NumPy arrays, without a copy of the frame.
// edge_bts/runtime/native.py checks the arguments and is what users import.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "edge_bts/edge_bts.hpp"

namespace nb = nanobind;
using edge_bts::NewArray;

namespace {

using Pixels = nb::ndarray<nb::ro, nb::device::cpu>;

/// The class of edge_bts/errors.py with the exit code that edge_bts.h has beside the status.
const char* error_class(ebts_status status) {
    switch (status) {
        case EBTS_ERROR_INTEGRITY:
            return "IntegrityError";
        case EBTS_ERROR_INCOMPATIBLE:
            return "EnvironmentMismatchError";
        case EBTS_ERROR_SELF_TEST:
            return "SelfTestError";
        default:  // what the caller can mend comes before what happens inside
            return status < EBTS_ERROR_BACKEND ? "InputError" : "EdgeBtsError";
    }
}

class Model {
  public:
    Model(const std::string& path, const std::string& keys, bool allow_unsigned, unsigned threads)
        : model_(path, options(keys, allow_unsigned, threads)) {}

    nb::dict describe() const {
        const ebts_model_info info = model_.describe();
        nb::dict facts;
        facts["name"] = info.name;
        facts["version"] = info.version;
        facts["precision"] = info.precision;
        facts["backend"] = info.backend;
        facts["signer"] = info.signer;
        facts["manifest_sha256"] = info.manifest_sha256;
        facts["trusted"] = info.trusted != 0;
        facts["self_tested"] = info.self_tested != 0;
        facts["side"] = info.side;
        facts["threshold"] = info.threshold;
        facts["presence_threshold"] = info.presence_threshold;
        return facts;
    }

    std::vector<std::string> warnings() const { return warnings_; }
    const ebts::Model& get() const noexcept { return model_; }

  private:
    ebts_model_options options(const std::string& keys, bool allow_unsigned, unsigned threads) {
        auto how = ebts::sized<ebts_model_options>();
        how.keys = reinterpret_cast<const std::uint8_t*>(keys.data());
        how.key_count = keys.size() / 32;
        how.allow_unsigned = allow_unsigned ? 1 : 0;
        how.threads = threads;
        how.log = [](void* user, ebts_log_level level, const char* text) {
            if (level == EBTS_LOG_WARNING) {
                static_cast<std::vector<std::string>*>(user)->emplace_back(text);
            }
        };
        how.log_user = &warnings_;
        return how;
    }

    std::vector<std::string> warnings_;  // before the model, whose opening fills it
    ebts::Model model_;
};

/// A component and a contour of its own: that of the session is gone with the next frame.
struct Part {
    explicit Part(const ebts_component& from) : size(from), contour(from.contour_count, 2) {
        for (std::size_t i = 0; i < from.contour_count; ++i) {
            contour.data[2 * i] = from.contour[i].x;
            contour.data[2 * i + 1] = from.contour[i].y;
        }
    }

    /// The fields of edge_bts.measure.Component in their order; millimetres where `mm` is known.
    nb::tuple release(bool mm) {
        const auto known = [mm](double value) { return mm ? nb::cast(value) : nb::none(); };
        const ebts_rect& box = size.bbox;
        const auto& ends = size.longest_ends;
        return nb::make_tuple(
            size.area_px, known(size.area_mm2), nb::make_tuple(box.x, box.y, box.width, box.height),
            nb::make_tuple(size.centroid[0], size.centroid[1]), contour.release(), size.longest_px,
            nb::make_tuple(nb::make_tuple(ends[0][0], ends[0][1]),
                           nb::make_tuple(ends[1][0], ends[1][1])),
            size.orthogonal_px, known(size.longest_mm), known(size.orthogonal_mm));
    }

    ebts_component size;
    NewArray<std::int32_t> contour;
};

class Session {
  public:
    Session(const Model& model, unsigned max_height, unsigned max_width, unsigned max_components,
            unsigned deadline_us)
        : session_(model.get(), options(max_height, max_width, max_components, deadline_us)) {}

    /// Threads take turns: none gets BUSY, and the next frame waits until what the result of this
    /// one points to is copied.
    nb::tuple segment(const Pixels& pixels, unsigned format, unsigned white, double mm,
                      const std::vector<std::int32_t>& roi, std::uint64_t timestamp) {
        auto frame = ebts::sized<ebts_frame>();
        frame.data = pixels.data();
        frame.height = static_cast<std::uint32_t>(pixels.shape(0));
        frame.width = static_cast<std::uint32_t>(pixels.shape(1));
        // Of one row NumPy keeps any stride; 0 stands for rows without a gap.
        frame.pitch =
            frame.height == 1 ? 0 : static_cast<std::size_t>(pixels.stride(0)) * pixels.itemsize();
        frame.format = format;
        frame.gray16_white = white;
        frame.mm_per_pixel = mm;
        frame.timestamp = timestamp;
        if (roi.size() == 4) frame.roi = {roi[0], roi[1], roi[2], roi[3]};
        NewArray<std::uint8_t> mask(frame.height, frame.width);
        NewArray<float> probability(frame.height, frame.width);
        auto planes = ebts::sized<ebts_planes>();
        planes.mask = mask.data.get();
        planes.probability = probability.data.get();
        ebts_result result;
        std::vector<Part> parts;
        {
            const nb::gil_scoped_release unlocked;
            const std::lock_guard<std::mutex> turn(turn_);
            result = session_.segment(frame, planes);
            parts.reserve(result.component_count);
            for (std::uint32_t i = 0; i < result.component_count; ++i) {
                parts.emplace_back(*result.components[i]);
            }
        }
        nb::list components;
        for (Part& part : parts) components.append(part.release(mm > 0));
        return nb::make_tuple(mask.release(), probability.release(), result.presence, components,
                              result.health, result.components_found, result.timestamp,
                              result.sequence, result.preprocess_ms, result.inference_ms,
                              result.postprocess_ms);
    }

    void self_test() {
        const nb::gil_scoped_release unlocked;
        const std::lock_guard<std::mutex> turn(turn_);
        session_.self_test();
    }

  private:
    static ebts_session_options options(unsigned max_height, unsigned max_width,
                                        unsigned max_components, unsigned deadline_us) {
        auto limits = ebts::sized<ebts_session_options>();
        limits.max_height = max_height;
        limits.max_width = max_width;
        limits.max_components = max_components;
        limits.deadline_us = deadline_us;
        return limits;
    }

    ebts::Session session_;
    std::mutex turn_;
};

}  // namespace

NB_MODULE(_runtime, m) {
    m.doc() = "libedge_bts; edge_bts.runtime.native checks the arguments and calls it.";
    m.attr("__version__") = ebts_version();
    nb::register_exception_translator([](const std::exception_ptr& thrown, void* /*unused*/) {
        try {
            std::rethrow_exception(thrown);
        } catch (const ebts::Error& error) {
            const nb::object type =
                nb::module_::import_("edge_bts.errors").attr(error_class(error.status()));
            PyErr_SetString(type.ptr(), error.what());
        }
    });
    nb::class_<Model>(m, "Model")
        .def(
            "__init__",
            [](Model* self, const std::string& path, const nb::bytes& keys, bool allow_unsigned,
               unsigned threads) {
                const std::string raw(keys.c_str(), keys.size());
                const nb::gil_scoped_release unlocked;
                new (self) Model(path, raw, allow_unsigned, threads);
            },
            nb::arg("path"), nb::arg("keys"), nb::arg("allow_unsigned"), nb::arg("threads"))
        .def("describe", &Model::describe)
        .def_prop_ro("warnings", &Model::warnings);
    nb::class_<Session>(m, "Session")
        .def(nb::init<const Model&, unsigned, unsigned, unsigned, unsigned>(), nb::arg("model"),
             nb::arg("max_height"), nb::arg("max_width"), nb::arg("max_components"),
             nb::arg("deadline_us"))
        .def("segment", &Session::segment, nb::arg("pixels").noconvert(), nb::arg("format"),
             nb::arg("white"), nb::arg("mm"), nb::arg("roi"), nb::arg("timestamp"))
        .def("self_test", &Session::self_test);
}
