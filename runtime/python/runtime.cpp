// edge_bts._runtime: libedge_bts under arrays of NumPy and DLPack, without a copy of the frame.
// edge_bts/runtime/native.py checks the arguments and is what users import.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
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

using Pixels = nb::ndarray<nb::ro>;

/// The class of edge_bts/errors.py with the exit code that edge_bts.h has beside the status.
const char* error_class(ebts_status status) {
    switch (status) {
        case EBTS_ERROR_INTEGRITY:
            return "IntegrityError";
        case EBTS_ERROR_INCOMPATIBLE:
            return "EnvironmentMismatchError";
        case EBTS_ERROR_SELF_TEST:
            return "SelfTestError";
        case EBTS_ERROR_STALLED:
            return "StalledError";
        default:  // what the caller can mend comes before what happens inside
            return status < EBTS_ERROR_BACKEND ? "InputError" : "EdgeBtsError";
    }
}

/// An empty text stands for NULL.
const char* or_null(const std::string& text) {
    return text.empty() ? nullptr : text.c_str();
}

class Model {
  public:
    Model(const std::string& path, const std::string& keys, bool allow_unsigned, unsigned threads,
          bool pin_threads, const std::string& cache_dir, const std::string& backend,
          const std::string& engine_folder)
        : model_([&] {
              auto how = ebts::sized<ebts_model_options>();
              how.keys = reinterpret_cast<const std::uint8_t*>(keys.data());
              how.key_count = keys.size() / 32;
              how.allow_unsigned = allow_unsigned ? 1 : 0;
              how.threads = threads;
              how.pin_threads = pin_threads ? 1 : 0;
              how.cache_dir = or_null(cache_dir);
              how.backend = or_null(backend);
              how.engine_folder = or_null(engine_folder);
              how.log = [](void* user, ebts_log_level level, const char* text) {
                  if (level == EBTS_LOG_WARNING) {
                      static_cast<std::vector<std::string>*>(user)->emplace_back(text);
                  }
              };
              how.log_user = &warnings_;
              return ebts::Model(path, how);
          }()) {}

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

    /// The fields of edge_bts.measure.Component in their order; None where the spacing is unknown.
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

/// A frame that points into the caller's array. Not copied: `frame` may point into `sector`.
struct Given {
    Given(const Pixels& pixels, unsigned format, unsigned white, double mm,
          const std::vector<std::int32_t>& roi, const std::vector<std::int32_t>& corners,
          std::uint64_t timestamp) {
        frame.data = pixels.data();
        frame.height = static_cast<std::uint32_t>(pixels.shape(0));
        frame.width = static_cast<std::uint32_t>(pixels.shape(1));
        // Of one row any stride is kept; 0 stands for rows without a gap.
        frame.pitch =
            frame.height == 1 ? 0 : static_cast<std::size_t>(pixels.stride(0)) * pixels.itemsize();
        frame.format = format;
        frame.gray16_white = white;
        frame.mm_per_pixel = mm;
        frame.timestamp = timestamp;
        if (roi.size() == 4) frame.roi = {roi[0], roi[1], roi[2], roi[3]};
        for (std::size_t i = 0; i + 1 < corners.size(); i += 2) {
            sector.push_back({corners[i], corners[i + 1]});
        }
        if (!sector.empty()) frame.sector = sector.data();
        frame.sector_count = sector.size();
        if (is_on_gpu(pixels)) {
            // Who exports a tensor of CUDA without being told a stream has it ready for the work of
            // the legacy default stream: cudaStreamLegacy.
            frame.memory = EBTS_MEMORY_CUDA;
            frame.stream = reinterpret_cast<void*>(std::uintptr_t{1});
        }
    }
    Given(const Given&) = delete;
    Given& operator=(const Given&) = delete;

    static bool is_on_gpu(const Pixels& pixels) {
        return pixels.device_type() == nb::device::cuda::value ||
               pixels.device_type() == nb::device::cuda_managed::value;
    }

    ebts_frame frame = ebts::sized<ebts_frame>();
    std::vector<ebts_point> sector;
};

/// What comes of a frame, in memory of its own.
struct Outcome {
    Outcome(std::uint32_t height, std::uint32_t width)
        : mask(height, width), probability(height, width) {
        planes.mask = mask.data.get();
        planes.probability = probability.data.get();
        planes.height = height;
        planes.width = width;
    }

    /// Copies what the result points to.
    void keep() {
        mask.height = probability.height = result.height;
        mask.width = probability.width = result.width;
        parts.reserve(result.component_count);
        for (std::uint32_t i = 0; i < result.component_count; ++i) {
            parts.emplace_back(*result.components[i]);
        }
    }

    nb::tuple release() {
        const double mm = result.mm_per_pixel;
        nb::list components;
        for (Part& part : parts) components.append(part.release(mm > 0));
        return nb::make_tuple(mask.release(), probability.release(), result.presence, components,
                              result.health, result.components_found, result.timestamp,
                              result.sequence, result.preprocess_ms, result.inference_ms,
                              result.postprocess_ms, mm > 0 ? nb::cast(mm) : nb::none(),
                              result.wait_ms, result.age_ms, result.newer_frames);
    }

    NewArray<std::uint8_t> mask;
    NewArray<float> probability;
    ebts_planes planes = ebts::sized<ebts_planes>();
    ebts_result result = ebts::sized<ebts_result>();
    std::vector<Part> parts;
};

ebts_session_options limits_of(unsigned max_height, unsigned max_width, unsigned max_components,
                               unsigned deadline_us, double presence_keep, unsigned memory) {
    auto limits = ebts::sized<ebts_session_options>();
    limits.max_height = max_height;
    limits.max_width = max_width;
    limits.max_components = max_components;
    limits.deadline_us = deadline_us;
    limits.presence_keep = presence_keep;
    limits.memory = memory;
    return limits;
}

/// A session under its handle, which the library knows as closed in whatever thread it is used.
class Session {
  public:
    Session(const Model& model, const ebts_session_options& options) {
        const nb::gil_scoped_release unlocked;
        ebts::check(ebts_session_create(model.get().get(), &options, &handle_));
    }
    ~Session() { close(); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// Threads take turns: none gets BUSY, and the next frame waits until what the result of this
    /// one points to is copied.
    nb::tuple segment(const Pixels& pixels, unsigned format, unsigned white, double mm,
                      const std::vector<std::int32_t>& roi, const std::vector<std::int32_t>& sector,
                      std::uint64_t timestamp) {
        const Given given(pixels, format, white, mm, roi, sector, timestamp);
        Outcome outcome(given.frame.height, given.frame.width);
        {
            const nb::gil_scoped_release unlocked;
            const std::lock_guard<std::mutex> turn(turn_);
            ebts::check(ebts_segment(handle_, &given.frame, &outcome.planes, &outcome.result));
            outcome.keep();
        }
        return outcome.release();
    }

    void self_test() {
        const nb::gil_scoped_release unlocked;
        const std::lock_guard<std::mutex> turn(turn_);
        ebts::check(ebts_self_test(handle_));
    }

    nb::tuple counts() const {
        auto counts = ebts::sized<ebts_counts>();
        ebts::check(ebts_session_counts(handle_, &counts));
        return nb::make_tuple(counts.frames, counts.results, counts.errors, counts.dropped,
                              counts.pending);
    }

    void close() {
        const nb::gil_scoped_release unlocked;  // a call that is waited for may need it
        ebts_session_destroy(handle_);
    }

  protected:
    ebts_session* handle_ = nullptr;
    std::mutex turn_;  ///< To segment, to poll, or to test.
};

/// A live session. `ready` is called by the session's thread.
class LiveSession : public Session {
  public:
    LiveSession(const Model& model, ebts_session_options options, unsigned stale_us,
                nb::object ready)
        : Session(model, alive(options, stale_us, ready.is_none() ? nullptr : this)),
          ready_(std::move(ready)) {}
    ~LiveSession() { close(); }

    void close() {
        Session::close();
        ready_.reset();  // it may hold what holds this
    }

    void submit(const Pixels& pixels, unsigned format, unsigned white, double mm,
                const std::vector<std::int32_t>& roi, const std::vector<std::int32_t>& sector,
                std::uint64_t timestamp) {
        const Given given(pixels, format, white, mm, roi, sector, timestamp);
        const nb::gil_scoped_release unlocked;
        const std::lock_guard<std::mutex> turn(feed_);
        height_ = std::max(height_.load(), given.frame.height);
        width_ = std::max(width_.load(), given.frame.width);
        ebts::check(ebts_submit(handle_, &given.frame));
    }

    /// None where there is nothing new.
    nb::object poll(unsigned wait_us) {
        std::unique_ptr<Outcome> outcome;
        {
            const nb::gil_scoped_release unlocked;
            const std::lock_guard<std::mutex> turn(turn_);
            ebts_status status = EBTS_ERROR_PLANE;
            // A larger frame may be submitted while this waits: then its result waits for planes.
            while (status == EBTS_ERROR_PLANE) {
                outcome = std::make_unique<Outcome>(height_, width_);
                status = ebts_poll(handle_, wait_us, &outcome->planes, &outcome->result);
            }
            if (status == EBTS_NOTHING_NEW) {
                outcome.reset();
            } else {
                ebts::check(status);
                outcome->keep();
            }
        }
        return outcome == nullptr ? nb::none() : nb::object(outcome->release());
    }

  private:
    static ebts_session_options alive(ebts_session_options options, unsigned stale_us,
                                      LiveSession* told) {
        options.live = 1;
        options.stale_us = stale_us;
        if (told != nullptr) {
            options.ready_user = told;
            options.ready = [](void* user) {
                const nb::gil_scoped_acquire locked;
                const nb::object ready = static_cast<LiveSession*>(user)->ready_;
                try {
                    ready();
                } catch (nb::python_error& error) {
                    error.discard_as_unraisable("the `ready` of a live session");
                }
            };
        }
        return options;
    }

    nb::object ready_;
    std::mutex feed_;                        ///< To submit.
    std::atomic<std::uint32_t> height_ = 1;  ///< Of the largest frame so far.
    std::atomic<std::uint32_t> width_ = 1;
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
    m.attr("backends") = ebts_backends();
    m.def(
        "layout",
        [](const Pixels& pixels) {
            std::vector<std::size_t> shape;
            std::vector<std::int64_t> strides;
            for (std::size_t i = 0; i < pixels.ndim(); ++i) {
                shape.push_back(pixels.shape(i));
                strides.push_back(pixels.stride(i) * static_cast<std::int64_t>(pixels.itemsize()));
            }
            const nb::dlpack::dtype type = pixels.dtype();
            const bool is_uint =
                type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::UInt) &&
                type.lanes == 1;
            return nb::make_tuple(is_uint ? type.bits : 0, shape, strides,
                                  reinterpret_cast<std::uintptr_t>(pixels.data()));
        },
        nb::arg("pixels").noconvert());
    nb::class_<Model>(m, "Model")
        .def(
            "__init__",
            [](Model* self, const std::string& path, const nb::bytes& keys, bool allow_unsigned,
               unsigned threads, bool pin_threads, const std::string& cache_dir,
               const std::string& backend, const std::string& engine_folder) {
                const std::string raw(keys.c_str(), keys.size());
                const nb::gil_scoped_release unlocked;
                new (self) Model(path, raw, allow_unsigned, threads, pin_threads, cache_dir,
                                 backend, engine_folder);
            },
            nb::arg("path"), nb::arg("keys"), nb::arg("allow_unsigned"), nb::arg("threads"),
            nb::arg("pin_threads"), nb::arg("cache_dir"), nb::arg("backend"),
            nb::arg("engine_folder"))
        .def("describe", &Model::describe)
        .def_prop_ro("warnings", &Model::warnings);
    nb::class_<ebts_session_options>(m, "Limits")
        .def(
            "__init__",
            [](ebts_session_options* self, unsigned max_height, unsigned max_width,
               unsigned max_components, unsigned deadline_us, double presence_keep,
               unsigned memory) {
                new (self) ebts_session_options(limits_of(max_height, max_width, max_components,
                                                          deadline_us, presence_keep, memory));
            },
            nb::arg("max_height"), nb::arg("max_width"), nb::arg("max_components"),
            nb::arg("deadline_us"), nb::arg("presence_keep"), nb::arg("memory"));
    nb::class_<Session>(m, "Session")
        .def(nb::init<const Model&, const ebts_session_options&>(), nb::arg("model"),
             nb::arg("limits"))
        .def("segment", &Session::segment, nb::arg("pixels").noconvert(), nb::arg("format"),
             nb::arg("white"), nb::arg("mm"), nb::arg("roi"), nb::arg("sector"),
             nb::arg("timestamp"))
        .def("self_test", &Session::self_test)
        .def("counts", &Session::counts)
        .def("close", &Session::close);
    nb::class_<LiveSession, Session>(m, "LiveSession")
        .def(nb::init<const Model&, const ebts_session_options&, unsigned, nb::object>(),
             nb::arg("model"), nb::arg("limits"), nb::arg("stale_us"), nb::arg("ready").none())
        .def("submit", &LiveSession::submit, nb::arg("pixels").noconvert(), nb::arg("format"),
             nb::arg("white"), nb::arg("mm"), nb::arg("roi"), nb::arg("sector"),
             nb::arg("timestamp"))
        .def("poll", &LiveSession::poll, nb::arg("wait_us"))
        .def("close", &LiveSession::close);
}
