// Runs a pipeline and prints what reaches its element "sink": gst_probe LAUNCH.
//
// A line for each frame, `frame STRIDE META` (stride of the GstVideoMeta, 0 without one; the meta
// EdgeBtsResult, or -), and before the first one `latency LIVE MIN MAX` as it is answered there, in
// nanoseconds. Frames of an element "liar" get a GstVideoMeta of 300 x 200, whatever their caps say.
#include <gst/gst.h>
#include <gst/video/video.h>

#include <cstdio>

namespace {

GstPadProbeReturn on_buffer(GstPad* pad, GstPadProbeInfo* info, gpointer first) {
    if (*static_cast<bool*>(first)) {
        *static_cast<bool*>(first) = false;
        GstQuery* query = gst_query_new_latency();
        gboolean live = FALSE;
        GstClockTime least = 0;
        GstClockTime most = 0;
        if (gst_pad_peer_query(pad, query)) gst_query_parse_latency(query, &live, &least, &most);
        std::printf("latency %d %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", live, least, most);
        gst_query_unref(query);
    }
    GstBuffer* buffer = GST_PAD_PROBE_INFO_BUFFER(info);
    const GstVideoMeta* video = gst_buffer_get_video_meta(buffer);
    GstCustomMeta* meta = gst_buffer_get_custom_meta(buffer, "EdgeBtsResult");
    gchar* text = meta == nullptr ? g_strdup("-")
                                  : gst_structure_to_string(gst_custom_meta_get_structure(meta));
    std::printf("frame %d %s\n", video == nullptr ? 0 : video->stride[0], text);
    g_free(text);
    return GST_PAD_PROBE_OK;
}

GstPadProbeReturn lie(GstPad*, GstPadProbeInfo* info, gpointer) {
    GstBuffer* buffer = gst_buffer_make_writable(GST_PAD_PROBE_INFO_BUFFER(info));
    gst_buffer_add_video_meta(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_GRAY8, 300, 200);
    GST_PAD_PROBE_INFO_DATA(info) = buffer;
    return GST_PAD_PROBE_OK;
}

/// Adds a probe for buffers to the pad of the element of that name, if there is one.
void add_probe(GstElement* pipeline, const char* element, const char* name,
               GstPadProbeCallback callback, gpointer data) {
    GstElement* found = gst_bin_get_by_name(GST_BIN(pipeline), element);
    if (found == nullptr) return;
    GstPad* pad = gst_element_get_static_pad(found, name);
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, callback, data, nullptr);
    gst_object_unref(pad);
    gst_object_unref(found);
}

}  // namespace

int main(int argc, char** argv) {
    gst_init(&argc, &argv);
    GError* error = nullptr;
    GstElement* pipeline = argc == 2 ? gst_parse_launch(argv[1], &error) : nullptr;
    if (pipeline == nullptr || error != nullptr) {
        std::fprintf(stderr, "gst_probe: %s\n", error != nullptr ? error->message : "usage");
        return 2;
    }
    bool first = true;
    add_probe(pipeline, "sink", "sink", on_buffer, &first);
    add_probe(pipeline, "liar", "src", lie, nullptr);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    GstBus* bus = gst_element_get_bus(pipeline);
    GstMessage* last = gst_bus_timed_pop_filtered(
        bus, GST_CLOCK_TIME_NONE, static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR));
    const bool failed = GST_MESSAGE_TYPE(last) == GST_MESSAGE_ERROR;
    if (failed) {
        gst_message_parse_error(last, &error, nullptr);
        std::fprintf(stderr, "gst_probe: %s\n", error->message);
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_message_unref(last);
    gst_object_unref(bus);
    gst_object_unref(pipeline);
    return failed ? 1 : 0;
}
