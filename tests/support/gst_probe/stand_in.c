/* libedge_bts for a test that cannot make OpenVINO fail: preloaded, it finds lesion in every pixel
 * and then has with each frame another thing to say, in the order of `kHealth`; FAIL is no result.
 */
#include <edge_bts/edge_bts.h>
#include <stddef.h>
#include <string.h>

enum { FAIL = -1 };
static const int kHealth[] = {
    EBTS_HEALTH_OK,  EBTS_HEALTH_LATE,     FAIL, FAIL, EBTS_HEALTH_STALE, EBTS_HEALTH_OUT_OF_RANGE,
    EBTS_HEALTH_NAN, EBTS_HEALTH_SATURATED};
static size_t frames;

ebts_status ebts_model_open(const char* path, const ebts_model_options* options,
                            ebts_model** model) {
    (void)path, (void)options;
    *model = (ebts_model*)&frames;
    return EBTS_OK;
}
void ebts_model_close(ebts_model* model) {
    (void)model;
}
ebts_status ebts_session_create(const ebts_model* model, const ebts_session_options* options,
                                ebts_session** session) {
    (void)model, (void)options;
    *session = (ebts_session*)&frames;
    return EBTS_OK;
}
void ebts_session_destroy(ebts_session* session) {
    (void)session;
}
const char* ebts_last_error(void) {
    return "Expected the network to run, but it is a stand-in.";
}

ebts_status ebts_segment(ebts_session* session, const ebts_frame* frame, const ebts_planes* planes,
                         ebts_result* result) {
    static const ebts_component part = {.area_px = 1, .longest_px = 1};
    static const ebts_component* const parts[] = {&part};
    const int health = kHealth[frames++ % (sizeof kHealth / sizeof *kHealth)];
    (void)session;
    if (health == FAIL) return EBTS_ERROR_BACKEND;
    memset(planes->mask, 1, (size_t)frame->width * frame->height);
    result->health = (uint32_t)health;
    result->components = parts;
    result->component_count = 1;
    return EBTS_OK;
}
