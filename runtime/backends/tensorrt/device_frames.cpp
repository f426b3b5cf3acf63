#include "device_frames.hpp"

#include <string>

#include "gray.hpp"

namespace edge_bts {
namespace {

std::size_t area_of(int height, int width) {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
}

/// Refuses pixels that the device cannot read: a kernel that met them would end the whole process's
/// use of the device.
void check_place(const Job& job, int device) {
    const std::size_t last = static_cast<std::size_t>(job.roi.height - 1) * job.pitch +
                             static_cast<std::size_t>(job.roi.width) * pixel_bytes(job.format) - 1;
    for (const std::uint8_t* byte : {job.pixels, job.pixels + last}) {
        cudaPointerAttributes about{};
        const bool known = cudaPointerGetAttributes(&about, byte) == cudaSuccess &&
                           about.type != cudaMemoryTypeUnregistered && about.devicePointer == byte;
        if (known && (about.type != cudaMemoryTypeDevice || about.device == device)) continue;
        cudaGetLastError();
        throw Failure(EBTS_ERROR_FRAME,
                      "Expected a frame in memory that GPU " + std::to_string(device) +
                          " can read, but its " + (byte == job.pixels ? "first" : "last") +
                          " pixel does not lie there; pass the address, pitch and size of such "
                          "memory, or a session and frame of EBTS_MEMORY_HOST.");
    }
}

device::Outline outline_of(const Job& job) {
    device::Outline outline{};
    outline.count = static_cast<int>(job.sector.count());
    for (std::size_t i = 0; i < job.sector.count(); ++i) {
        outline.x[i] = job.sector.corners()[i].x - job.roi.x;
        outline.y[i] = job.sector.corners()[i].y - job.roi.y;
    }
    return outline;
}

device::Frame frame_of(const Job& job) {
    return {job.pixels, static_cast<std::ptrdiff_t>(job.pitch), job.format, job.white};
}

/// Waits at its end for what was put into a stream: whose memory it uses may then take it back,
/// also where something failed on the way.
class Drained {
  public:
    explicit Drained(cudaStream_t stream) : stream_(stream) {}
    ~Drained() { cudaStreamSynchronize(stream_); }
    Drained(const Drained&) = delete;
    Drained& operator=(const Drained&) = delete;

  private:
    cudaStream_t stream_;
};

double between(const OwnEvent& first, const OwnEvent& second) {
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, first.get(), second.get()), "tell the time");
    return milliseconds;
}

}  // namespace

DeviceFrames::DeviceFrames(TensorRtRequest& request, const Limits& limits, std::size_t slots)
    : request_(request),
      square_(make_device_memory<float>(area_of(request.side(), request.side()))),
      mask_(area_of(limits.max_height, limits.max_width), request.mapped()),
      feed_(make_stream()),
      written_(make_event(cudaEventDisableTiming)),
      begun_(make_event(cudaEventDefault)),
      prepared_(make_event(cudaEventDefault)),
      inferred_(make_event(cudaEventDefault)) {
    slots_.reserve(slots);
    for (std::size_t i = 0; i < slots; ++i) {
        slots_.emplace_back(area_of(limits.max_height, limits.max_width));
    }
    // What TensorRT and a graph set up for another input is no frame's time.
    const Drained drained(request.stream());
    check_cuda(
        cudaMemsetAsync(square_.get(), 0, area_of(request.side(), request.side()) * sizeof(float),
                        request.stream()),
        "clear memory");
    request_.bind(square_.get(), nullptr);
    request_.infer();
}

DeviceFrames::~DeviceFrames() {
    // Nothing may run in freed memory.
    cudaStreamSynchronize(feed_.get());
    cudaStreamSynchronize(request_.stream());
}

/// Puts into a stream: the frame's gray, if it is wanted, and how much of it is white.
void DeviceFrames::look_at(const Job& job, bool wants_gray, Slot& slot, cudaStream_t stream) {
    check_place(job, request_.device());
    if (job.stream != nullptr) {
        const auto theirs = static_cast<cudaStream_t>(job.stream);
        check_cuda(cudaEventRecord(written_.get(), theirs), "mark the frame's stream");
        check_cuda(cudaStreamWaitEvent(stream, written_.get(), 0), "wait for the frame's stream");
    }
    check_cuda(cudaMemsetAsync(slot.white.device(), 0, sizeof(std::uint32_t), stream),
               "clear memory");
    check_cuda(device::survey(frame_of(job), job.roi.height, job.roi.width, outline_of(job),
                              wants_gray ? slot.gray.get() : nullptr, slot.white.device(), stream),
               "make gray of a frame");
    slot.white.copy_out(1, stream);
}

void DeviceFrames::keep(const Job& job, std::size_t slot) {
    const OnDevice here(request_.device());
    const Drained drained(feed_.get());
    look_at(job, true, slots_[slot], feed_.get());
    check_cuda(cudaStreamSynchronize(feed_.get()), "make gray of a frame");
}

Passed DeviceFrames::run(const Job& job, std::optional<std::size_t> kept, const Letterbox& box,
                         const Settings& model) {
    const OnDevice here(request_.device());
    const cudaStream_t stream = request_.stream();
    request_.bind(square_.get(), nullptr);
    Slot& slot = slots_[kept.value_or(0)];
    const bool gray = kept || job.sector;
    const Drained drained(stream);
    check_cuda(cudaEventRecord(begun_.get(), stream), "tell the time");
    if (!kept) look_at(job, gray, slot, stream);
    const device::Frame frame =
        gray ? device::Frame{slot.gray.get(), job.roi.width, EBTS_GRAY8, 0} : frame_of(job);
    check_cuda(device::letterbox(box, frame, model.mean, model.std, square_.get(), stream),
               "letterbox a frame");
    check_cuda(cudaEventRecord(prepared_.get(), stream), "tell the time");
    request_.enqueue();
    check_cuda(cudaEventRecord(inferred_.get(), stream), "tell the time");
    check_cuda(device::to_source(box, request_.device_output(), model.threshold, {nullptr, 0},
                                 {mask_.device(), job.roi.width}, stream),
               "take the mask to its source");
    mask_.copy_out(area_of(job.roi.height, job.roi.width), stream);
    check_cuda(cudaStreamSynchronize(stream), "run a frame");
    return {*slot.white.host(), between(begun_, prepared_), between(prepared_, inferred_)};
}

}  // namespace edge_bts
