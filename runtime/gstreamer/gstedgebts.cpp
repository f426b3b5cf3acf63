// edgebts: a GStreamer filter that segments every frame of a raw video stream.
//
//   gst-launch-1.0 v4l2src ! videoconvert ! video/x-raw,format=GRAY8
//     ! queue leaky=downstream max-size-buffers=1
//     ! edgebts bundle=student.ebts trust=maker.pub ! videoconvert ! autovideosink
//
// Each frame is segmented in the thread that brings it and leaves with its own result: as the meta
// and, on the bus, the element message EdgeBtsResult. What is drawn is of that frame or nothing.
#include <gst/video/gstvideofilter.h>
#include <gst/video/video.h>

#include <algorithm>
#include <cstdint>
#include <edge_bts/edge_bts.hpp>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "drawing.hpp"

namespace {

constexpr const char* kResult = "EdgeBtsResult";
constexpr const char* kFormats =
    "{ GRAY8, NV12, I420, RGB, BGR, RGBA, BGRA, RGBx, BGRx, ARGB, xRGB }";

enum class Overlay { none, outline, mask };

/// The properties; the object's lock is held to read and write them.
struct Settings {
    std::string bundle;
    std::string trust;
    bool allow_unsigned = false;
    guint threads = 1;
    Overlay overlay = Overlay::outline;
    gint64 deadline_us = -1;
    double mm_per_pixel = 0.0;
    double presence_keep = 0.0;
    bool post_messages = true;
};

/// What a running stream has; the streaming thread's, but for `deadline_us`.
struct Stream {
    std::optional<ebts::Model> model;
    std::optional<ebts::Session> session;
    std::uint32_t format = 0;
    std::vector<std::uint8_t> mask;
    bool failing = false;
    std::uint32_t deadline_us = 0;  // of the caps of now; under the object's lock
};

struct EdgeBts {
    GstVideoFilter parent;
    Settings* settings;
    Stream* stream;
};

struct EdgeBtsClass {
    GstVideoFilterClass parent;
};

enum Property : guint {
    kBundle = 1,
    kTrust,
    kAllowUnsigned,
    kThreads,
    kOverlay,
    kDeadline,
    kMmPerPixel,
    kPresenceKeep,
    kPostMessages
};

GST_DEBUG_CATEGORY_STATIC(edge_bts_debug);
#define GST_CAT_DEFAULT edge_bts_debug

G_DEFINE_TYPE(EdgeBts, edge_bts, GST_TYPE_VIDEO_FILTER)

EdgeBts* self_of(gpointer object) {
    return static_cast<EdgeBts*>(object);
}

class Lock {
  public:
    explicit Lock(gpointer object) : object_(static_cast<GstObject*>(object)) {
        GST_OBJECT_LOCK(object_);
    }
    ~Lock() { GST_OBJECT_UNLOCK(object_); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

  private:
    GstObject* object_;
};

Settings settings_of(EdgeBts* self) {
    const Lock lock(self);
    return *self->settings;
}

std::uint32_t deadline_of(EdgeBts* self) {
    const Lock lock(self);
    return self->stream->deadline_us;
}

GType overlay_type() {
    static const GEnumValue values[] = {
        {static_cast<int>(Overlay::none), "The frame as it came", "none"},
        {static_cast<int>(Overlay::outline), "The border of the lesions on the frame", "outline"},
        {static_cast<int>(Overlay::mask), "The mask in place of the frame, white on lesion",
         "mask"},
        {0, nullptr, nullptr}};
    static const GType type = g_enum_register_static("EdgeBtsOverlay", values);
    return type;
}

// ---- Opening ----

/// Ends the stream with the sentence of the library.
void refuse(EdgeBts* self, const ebts::Error& error) {
    switch (error.status()) {
        case EBTS_ERROR_INTEGRITY:
            GST_ELEMENT_ERROR(self, RESOURCE, NOT_AUTHORIZED, ("%s", error.what()), (nullptr));
            return;
        case EBTS_ERROR_BUNDLE:
            GST_ELEMENT_ERROR(self, RESOURCE, OPEN_READ, ("%s", error.what()), (nullptr));
            return;
        case EBTS_ERROR_ARGUMENT:
            GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS, ("%s", error.what()), (nullptr));
            return;
        default:
            GST_ELEMENT_ERROR(self, LIBRARY, INIT, ("%s", error.what()), (nullptr));
    }
}

void on_log(void* user, ebts_log_level level, const char* text) {
    auto* self = self_of(user);
    if (level == EBTS_LOG_WARNING) {
        GST_ELEMENT_WARNING(self, RESOURCE, SETTINGS, ("%s", text), (nullptr));
    } else {
        GST_INFO_OBJECT(self, "%s", text);
    }
}

gboolean start(GstBaseTransform* base) {
    auto* self = self_of(base);
    const Settings settings = settings_of(self);
    if (settings.bundle.empty()) {
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS,
                          ("Expected the property bundle, a folder NAME.ebts, but it is not set."),
                          (nullptr));
        return FALSE;
    }
    const char* key = settings.trust.c_str();
    auto how = ebts::sized<ebts_model_options>();
    how.key_files = &key;
    how.key_file_count = settings.trust.empty() ? 0 : 1;
    how.allow_unsigned = settings.allow_unsigned ? 1 : 0;
    how.threads = settings.threads;
    how.log = on_log;
    how.log_user = self;
    try {
        self->stream->model.emplace(settings.bundle, how);
        return TRUE;
    } catch (const ebts::Error& error) {
        refuse(self, error);
        return FALSE;
    }
}

gboolean stop(GstBaseTransform* base) {
    Stream& stream = *self_of(base)->stream;
    stream.session.reset();
    stream.model.reset();
    stream.failing = false;
    return TRUE;
}

std::uint32_t library_format(GstVideoFormat format) {
    switch (format) {
        case GST_VIDEO_FORMAT_GRAY8:
            return EBTS_GRAY8;
        case GST_VIDEO_FORMAT_NV12:
        case GST_VIDEO_FORMAT_I420:
            return EBTS_NV12;  // of both the luma plane alone is read
        case GST_VIDEO_FORMAT_RGB:
            return EBTS_RGB;
        case GST_VIDEO_FORMAT_BGR:
            return EBTS_BGR;
        case GST_VIDEO_FORMAT_RGBA:
        case GST_VIDEO_FORMAT_RGBx:
            return EBTS_RGBA;
        case GST_VIDEO_FORMAT_BGRA:
        case GST_VIDEO_FORMAT_BGRx:
            return EBTS_BGRA;
        default:
            return EBTS_ARGB;  // the pad's caps allow no other
    }
}

/// One frame period, or 0 where the caps tell none; rounded up: a deadline is no shorter.
std::uint32_t period_us(const GstVideoInfo& info) {
    if (GST_VIDEO_INFO_FPS_N(&info) <= 0) return 0;
    const guint64 period =
        gst_util_uint64_scale_ceil(1000000, static_cast<guint64>(GST_VIDEO_INFO_FPS_D(&info)),
                                   static_cast<guint64>(GST_VIDEO_INFO_FPS_N(&info)));
    return static_cast<std::uint32_t>(MIN(period, G_MAXUINT32));
}

gboolean set_info(GstVideoFilter* filter, GstCaps*, GstVideoInfo* info, GstCaps*, GstVideoInfo*) {
    auto* self = self_of(filter);
    Stream& stream = *self->stream;
    const Settings settings = settings_of(self);
    const std::uint32_t deadline = settings.deadline_us < 0
                                       ? period_us(*info)
                                       : static_cast<std::uint32_t>(settings.deadline_us);
    auto most = ebts::sized<ebts_session_options>();
    most.max_width = static_cast<std::uint32_t>(GST_VIDEO_INFO_WIDTH(info));
    most.max_height = static_cast<std::uint32_t>(GST_VIDEO_INFO_HEIGHT(info));
    most.deadline_us = deadline;
    most.presence_keep = settings.presence_keep;
    stream.session.reset();
    try {
        stream.session.emplace(*stream.model, most);
        stream.mask.resize(std::size_t{most.max_width} * most.max_height);
    } catch (const ebts::Error& error) {
        refuse(self, error);
        return FALSE;
    } catch (const std::exception&) {
        GST_ELEMENT_ERROR(self, RESOURCE, NO_SPACE_LEFT,
                          ("Expected memory for frames of %u x %u, but there is none left.",
                           most.max_width, most.max_height),
                          (nullptr));
        return FALSE;
    }
    stream.format = library_format(GST_VIDEO_INFO_FORMAT(info));
    if (GST_VIDEO_INFO_IS_YUV(info) && info->colorimetry.range == GST_VIDEO_COLOR_RANGE_16_235) {
        GST_INFO_OBJECT(self, "luma from 16 to 235 is read as it is: black is seen as 16");
    }
    bool changed = false;
    {
        const Lock lock(self);
        changed = stream.deadline_us != deadline;
        stream.deadline_us = deadline;
    }
    if (changed) {
        gst_element_post_message(GST_ELEMENT(self), gst_message_new_latency(GST_OBJECT(self)));
    }
    return TRUE;
}

// ---- A frame ----

/// What became of a frame; `error` is empty where there is a result.
struct Outcome {
    ebts_result result;
    std::string error;

    bool usable() const noexcept {
        return error.empty() && (result.health & EBTS_HEALTH_UNUSABLE) == 0;
    }
};

Outcome segment(Stream& stream, const GstVideoFrame& frame, const Settings& settings,
                GstClockTime time) {
    const GstVideoInfo& info = frame.info;
    auto input = ebts::sized<ebts_frame>();
    input.data = GST_VIDEO_FRAME_PLANE_DATA(&frame, 0);
    input.pitch = static_cast<std::size_t>(GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 0));
    input.width = static_cast<std::uint32_t>(GST_VIDEO_FRAME_WIDTH(&frame));
    input.height = static_cast<std::uint32_t>(GST_VIDEO_FRAME_HEIGHT(&frame));
    input.format = stream.format;
    input.timestamp = time;
    // One length for both directions says nothing of pixels that are not square.
    if (GST_VIDEO_INFO_PAR_N(&info) == GST_VIDEO_INFO_PAR_D(&info)) {
        input.mm_per_pixel = settings.mm_per_pixel;
    }
    auto planes = ebts::sized<ebts_planes>();
    if (settings.overlay != Overlay::none) planes.mask = stream.mask.data();
    Outcome outcome{ebts::sized<ebts_result>(), {}};
    if (ebts_segment(stream.session->get(), &input, &planes, &outcome.result) != EBTS_OK) {
        outcome.error = ebts_last_error();
    }
    return outcome;
}

void draw(Stream& stream, GstVideoFrame& frame, Overlay overlay, bool usable) {
    using namespace edge_bts::gstreamer;
    if (!usable) std::fill(stream.mask.begin(), stream.mask.end(), std::uint8_t{0});
    if (overlay == Overlay::outline) draw_outline(frame, stream.mask.data());
    if (overlay == Overlay::mask) draw_mask(frame, stream.mask.data());
}

void append_component(GValue& list, const ebts_component& part) {
    GstStructure* one = gst_structure_new(
        "component", "area-px", G_TYPE_UINT, part.area_px, "x", G_TYPE_INT, part.bbox.x, "y",
        G_TYPE_INT, part.bbox.y, "width", G_TYPE_INT, part.bbox.width, "height", G_TYPE_INT,
        part.bbox.height, "centroid-x", G_TYPE_DOUBLE, part.centroid[0], "centroid-y",
        G_TYPE_DOUBLE, part.centroid[1], "longest-px", G_TYPE_DOUBLE, part.longest_px, "longest-x1",
        G_TYPE_DOUBLE, part.longest_ends[0][0], "longest-y1", G_TYPE_DOUBLE,
        part.longest_ends[0][1], "longest-x2", G_TYPE_DOUBLE, part.longest_ends[1][0], "longest-y2",
        G_TYPE_DOUBLE, part.longest_ends[1][1], "orthogonal-px", G_TYPE_DOUBLE, part.orthogonal_px,
        nullptr);
    if (part.longest_mm > 0.0) {
        gst_structure_set(one, "area-mm2", G_TYPE_DOUBLE, part.area_mm2, "longest-mm",
                          G_TYPE_DOUBLE, part.longest_mm, "orthogonal-mm", G_TYPE_DOUBLE,
                          part.orthogonal_mm, nullptr);
    }
    GValue value = G_VALUE_INIT;
    g_value_init(&value, GST_TYPE_STRUCTURE);
    g_value_take_boxed(&value, one);
    gst_value_array_append_and_take_value(&list, &value);
}

void describe(GstStructure* said, const Outcome& outcome, GstClockTime time) {
    const ebts_result& result = outcome.result;
    const bool failed = !outcome.error.empty();
    const std::string words = failed ? "FAILED" : ebts::health_words(result.health);
    gst_structure_set(said, "pts", G_TYPE_UINT64, time, "health", G_TYPE_STRING, words.c_str(),
                      "usable", G_TYPE_BOOLEAN, outcome.usable() ? TRUE : FALSE, nullptr);
    if (failed) {
        gst_structure_set(said, "error", G_TYPE_STRING, outcome.error.c_str(), nullptr);
        return;
    }
    gst_structure_set(said, "sequence", G_TYPE_UINT64, result.sequence, "width", G_TYPE_UINT,
                      result.width, "height", G_TYPE_UINT, result.height, "presence", G_TYPE_DOUBLE,
                      result.presence, "preprocess-ms", G_TYPE_DOUBLE, result.preprocess_ms,
                      "inference-ms", G_TYPE_DOUBLE, result.inference_ms, "postprocess-ms",
                      G_TYPE_DOUBLE, result.postprocess_ms, nullptr);
    GValue components = G_VALUE_INIT;
    g_value_init(&components, GST_TYPE_ARRAY);
    for (std::uint32_t i = 0; outcome.usable() && i < result.component_count; ++i) {
        append_component(components, *result.components[i]);
    }
    gst_structure_take_value(said, "components", &components);
}

GstFlowReturn transform_ip(GstBaseTransform* base, GstBuffer* buffer) {
    auto* self = self_of(base);
    Stream& stream = *self->stream;
    GstVideoInfo* info = &self->parent.in_info;
    const Settings settings = settings_of(self);
    const bool drawn = settings.overlay != Overlay::none;
    GstVideoFrame frame;
    const auto access = static_cast<GstMapFlags>(GST_MAP_READ | (drawn ? GST_MAP_WRITE : 0) |
                                                 static_cast<int>(GST_VIDEO_FRAME_MAP_FLAG_NO_REF));
    if (gst_video_frame_map(&frame, info, buffer, access) == FALSE) {
        GST_ELEMENT_ERROR(self, STREAM, FORMAT,
                          ("Expected a frame of %d x %d, but the buffer cannot be read as one.",
                           GST_VIDEO_INFO_WIDTH(info), GST_VIDEO_INFO_HEIGHT(info)),
                          (nullptr));
        return GST_FLOW_ERROR;
    }
    // A GstVideoMeta may say other than the caps.
    const bool as_agreed = GST_VIDEO_FRAME_WIDTH(&frame) == GST_VIDEO_INFO_WIDTH(info) &&
                           GST_VIDEO_FRAME_HEIGHT(&frame) == GST_VIDEO_INFO_HEIGHT(info) &&
                           GST_VIDEO_FRAME_FORMAT(&frame) == GST_VIDEO_INFO_FORMAT(info);
    if (!as_agreed) {
        GST_ELEMENT_ERROR(self, STREAM, FORMAT,
                          ("Expected a frame of %d x %d as in the caps, but its meta says %d x %d.",
                           GST_VIDEO_INFO_WIDTH(info), GST_VIDEO_INFO_HEIGHT(info),
                           GST_VIDEO_FRAME_WIDTH(&frame), GST_VIDEO_FRAME_HEIGHT(&frame)),
                          (nullptr));
        gst_video_frame_unmap(&frame);
        return GST_FLOW_ERROR;
    }
    const GstClockTime time = GST_BUFFER_PTS(buffer);
    const Outcome outcome = segment(stream, frame, settings, time);
    if (drawn) draw(stream, frame, settings.overlay, outcome.usable());
    gst_video_frame_unmap(&frame);

    // The image goes on: a scanner without an overlay is of use, one without an image is not.
    const bool failed = !outcome.error.empty();
    if (failed && !stream.failing) {
        GST_ELEMENT_WARNING(self, LIBRARY, FAILED, ("%s", outcome.error.c_str()), (nullptr));
    }
    stream.failing = failed;
    GstStructure* said = gst_custom_meta_get_structure(gst_buffer_add_custom_meta(buffer, kResult));
    describe(said, outcome, time);
    if (settings.post_messages) {
        gst_element_post_message(
            GST_ELEMENT(self), gst_message_new_element(GST_OBJECT(self), gst_structure_copy(said)));
    }
    return GST_FLOW_OK;
}

/// In a live pipeline a frame may take its deadline: sinks wait for as long.
gboolean query(GstBaseTransform* base, GstPadDirection direction, GstQuery* asked) {
    auto* parent = GST_BASE_TRANSFORM_CLASS(edge_bts_parent_class);
    if (parent->query(base, direction, asked) == FALSE) return FALSE;
    if (direction == GST_PAD_SRC && GST_QUERY_TYPE(asked) == GST_QUERY_LATENCY) {
        gboolean live = FALSE;
        GstClockTime least = 0;
        GstClockTime most = 0;
        gst_query_parse_latency(asked, &live, &least, &most);
        if (live == TRUE) {
            const GstClockTime own = deadline_of(self_of(base)) * GST_USECOND;
            if (GST_CLOCK_TIME_IS_VALID(most)) most += own;
            gst_query_set_latency(asked, live, least + own, most);
        }
    }
    return TRUE;
}

// ---- Properties and class ----

std::string text_of(const GValue* value) {
    const char* text = g_value_get_string(value);
    return text == nullptr ? std::string() : text;
}

void set_property(GObject* object, guint id, const GValue* value, GParamSpec* spec) {
    const Lock lock(object);
    Settings& settings = *self_of(object)->settings;
    switch (id) {
        case kBundle:
            settings.bundle = text_of(value);
            break;
        case kTrust:
            settings.trust = text_of(value);
            break;
        case kAllowUnsigned:
            settings.allow_unsigned = g_value_get_boolean(value) == TRUE;
            break;
        case kThreads:
            settings.threads = g_value_get_uint(value);
            break;
        case kOverlay:
            settings.overlay = static_cast<Overlay>(g_value_get_enum(value));
            break;
        case kDeadline:
            settings.deadline_us = g_value_get_int64(value);
            break;
        case kMmPerPixel:
            settings.mm_per_pixel = g_value_get_double(value);
            break;
        case kPresenceKeep:
            settings.presence_keep = g_value_get_double(value);
            break;
        case kPostMessages:
            settings.post_messages = g_value_get_boolean(value) == TRUE;
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

void get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
    const Settings settings = settings_of(self_of(object));
    switch (id) {
        case kBundle:
            g_value_set_string(value, settings.bundle.c_str());
            break;
        case kTrust:
            g_value_set_string(value, settings.trust.c_str());
            break;
        case kAllowUnsigned:
            g_value_set_boolean(value, settings.allow_unsigned ? TRUE : FALSE);
            break;
        case kThreads:
            g_value_set_uint(value, settings.threads);
            break;
        case kOverlay:
            g_value_set_enum(value, static_cast<int>(settings.overlay));
            break;
        case kDeadline:
            g_value_set_int64(value, settings.deadline_us);
            break;
        case kMmPerPixel:
            g_value_set_double(value, settings.mm_per_pixel);
            break;
        case kPresenceKeep:
            g_value_set_double(value, settings.presence_keep);
            break;
        case kPostMessages:
            g_value_set_boolean(value, settings.post_messages ? TRUE : FALSE);
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

void finalize(GObject* object) {
    delete self_of(object)->stream;
    delete self_of(object)->settings;
    G_OBJECT_CLASS(edge_bts_parent_class)->finalize(object);
}

void add_properties(GObjectClass* objects) {
    constexpr auto kUntilPaused = static_cast<GParamFlags>(
        G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY);
    constexpr auto kAnyTime = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                       GST_PARAM_MUTABLE_PLAYING);
    const Settings usual;
    const auto add = [objects](guint id, GParamSpec* spec) {
        g_object_class_install_property(objects, id, spec);
    };
    add(kBundle,
        g_param_spec_string("bundle", "Bundle", "Folder NAME.ebts", nullptr, kUntilPaused));
    add(kTrust,
        g_param_spec_string("trust", "Trust", "Public key NAME.pub whose bundles are opened",
                            nullptr, kUntilPaused));
    add(kAllowUnsigned, g_param_spec_boolean("allow-unsigned", "Allow unsigned",
                                             "Open a bundle that the key of trust did not sign",
                                             FALSE, kUntilPaused));
    add(kThreads, g_param_spec_uint("threads", "Threads",
                                    "Threads inside one inference; 0: as the backend likes", 0, 256,
                                    usual.threads, kUntilPaused));
    add(kOverlay, g_param_spec_enum("overlay", "Overlay", "What is drawn", overlay_type(),
                                    static_cast<int>(usual.overlay), kAnyTime));
    add(kDeadline,
        g_param_spec_int64("deadline-us", "Deadline",
                           "Microseconds after which a result is LATE and not drawn; 0: none is; "
                           "-1: one period of the frame rate in the caps. Part of the latency",
                           -1, G_MAXUINT32, usual.deadline_us, kUntilPaused));
    add(kMmPerPixel,
        g_param_spec_double("mm-per-pixel", "Millimetres per pixel",
                            "The same in both directions; 0: unknown, measures are in pixels", 0.0,
                            1000.0, usual.mm_per_pixel, kAnyTime));
    add(kPresenceKeep,
        g_param_spec_double("presence-keep", "Presence to keep",
                            "Once a lesion was present, masks are kept down to this presence; 0: "
                            "every frame is on its own",
                            0.0, 1.0, usual.presence_keep, kUntilPaused));
    add(kPostMessages, g_param_spec_boolean("post-messages", "Post messages",
                                            "Post an element message EdgeBtsResult for every frame",
                                            TRUE, kAnyTime));
}

void edge_bts_class_init(EdgeBtsClass* type) {
    auto* objects = G_OBJECT_CLASS(type);
    objects->set_property = set_property;
    objects->get_property = get_property;
    objects->finalize = finalize;
    add_properties(objects);

    auto* elements = GST_ELEMENT_CLASS(type);
    gst_element_class_set_static_metadata(
        elements, "Breast-tumour segmentation", "Filter/Analyzer/Video",
        "Segments breast tumours in ultrasound frames; research software, not a medical device",
        "The maintainers of edge-bts");
    GstCaps* caps = gst_caps_from_string(GST_VIDEO_CAPS_MAKE("{}"));
    GValue formats = G_VALUE_INIT;
    g_value_init(&formats, GST_TYPE_LIST);
    gst_value_deserialize(&formats, kFormats);
    gst_caps_set_value(caps, "format", &formats);
    g_value_unset(&formats);
    gst_element_class_add_pad_template(
        elements, gst_pad_template_new("sink", GST_PAD_SINK, GST_PAD_ALWAYS, caps));
    gst_element_class_add_pad_template(
        elements, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps));
    gst_caps_unref(caps);
    gst_type_mark_as_plugin_api(overlay_type(), static_cast<GstPluginAPIFlags>(0));

    auto* transforms = GST_BASE_TRANSFORM_CLASS(type);
    transforms->start = start;
    transforms->stop = stop;
    transforms->query = query;
    transforms->transform_ip = transform_ip;  // not transform_frame_ip, which always maps to write
    GST_VIDEO_FILTER_CLASS(type)->set_info = set_info;
}

void edge_bts_init(EdgeBts* self) {
    self->settings = new Settings;
    self->stream = new Stream;
}

/// Says whether the meta goes with a copy of a frame: not with a part of one or in another size, as
/// its coordinates are pixels of the whole.
gboolean on_transform(GstBuffer* copy, GstCustomMeta* meta, GstBuffer*, GQuark how, gpointer data,
                      gpointer) {
    if (GST_VIDEO_META_TRANSFORM_IS_SCALE(how)) {
        const auto* sizes = static_cast<const GstVideoMetaTransform*>(data);
        if (GST_VIDEO_INFO_WIDTH(sizes->in_info) != GST_VIDEO_INFO_WIDTH(sizes->out_info) ||
            GST_VIDEO_INFO_HEIGHT(sizes->in_info) != GST_VIDEO_INFO_HEIGHT(sizes->out_info)) {
            return FALSE;
        }
    } else if (!GST_META_TRANSFORM_IS_COPY(how) ||
               static_cast<const GstMetaTransformCopy*>(data)->region == TRUE) {
        return FALSE;
    }
    GstStructure* to = gst_custom_meta_get_structure(gst_buffer_add_custom_meta(copy, kResult));
    const auto set = [](GQuark field, const GValue* value, gpointer into) -> gboolean {
        gst_structure_id_set_value(static_cast<GstStructure*>(into), field, value);
        return TRUE;
    };
    gst_structure_foreach(gst_custom_meta_get_structure(meta), set, to);
    return TRUE;
}

gboolean plugin_init(GstPlugin* plugin) {
    GST_DEBUG_CATEGORY_INIT(edge_bts_debug, "edgebts", 0, "breast-tumour segmentation");
    static const char* tags[] = {GST_META_TAG_VIDEO_STR, GST_META_TAG_VIDEO_SIZE_STR,
                                 GST_META_TAG_VIDEO_ORIENTATION_STR, nullptr};
    gst_meta_register_custom(kResult, tags, on_transform, nullptr, nullptr);
    return gst_element_register(plugin, "edgebts", GST_RANK_NONE, edge_bts_get_type());
}

}  // namespace

#define PACKAGE "edge-bts"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, edgebts,
                  "Breast-tumour segmentation in ultrasound frames", plugin_init, EDGE_BTS_VERSION,
                  "Apache 2.0", PACKAGE, "edge-bts")
