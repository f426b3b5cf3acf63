/* edge_bts.h - segment breast tumours in ultrasound frames, inside a scanner's program.
 *
 * Research software; not a medical device.
 *
 * A frame goes in; mask, probability and the measures of every lesion come out, in the pixels of
 * the frame. What runs is a bundle, the signed folder NAME.ebts that `edge-bts export` writes. The
 * results are those of `edge-bts run`: the same masks, the same measures.
 *
 *   #include <edge_bts/edge_bts.h>
 *
 *   static const char *const keys[] = {"/etc/scanner/maker.pub"};
 *
 *   ebts_model_options how = {.struct_size = sizeof how, .key_files = keys, .key_file_count = 1};
 *   ebts_session_options most = {.struct_size = sizeof most, .max_width = 1024,
 *                                .max_height = 768, .deadline_us = 33000};
 *   ebts_model *model = NULL;
 *   ebts_session *session = NULL;
 *   ebts_status status = ebts_model_open("student.ebts", &how, &model);
 *   if (status == EBTS_OK) status = ebts_session_create(model, &most, &session);
 *   if (status != EBTS_OK) return refuse(ebts_last_error());
 *
 *   while (next_image(&image)) {
 *       ebts_frame frame = {.struct_size = sizeof frame, .data = image.pixels,
 *                           .width = image.width, .height = image.height,
 *                           .format = EBTS_GRAY8, .mm_per_pixel = image.mm,
 *                           .timestamp = image.time};
 *       ebts_planes planes = {.struct_size = sizeof planes, .mask = mask};
 *       ebts_result result = {.struct_size = sizeof result};
 *
 *       if (ebts_segment(session, &frame, &planes, &result) != EBTS_OK)
 *           hide_overlay(ebts_last_error());
 *       else if (result.health & EBTS_HEALTH_UNUSABLE)   // late, or no segmentation at all
 *           hide_overlay("no result for this frame");
 *       else
 *           draw(mask, result.components, result.component_count, result.timestamp);
 *   }
 *   ebts_session_destroy(session);
 *   ebts_model_close(model);
 *
 * ebts_segment returns when all is done. Where the thread that has the frames must not wait, a live
 * session takes them with ebts_submit and gives results with ebts_poll: see there.
 *
 * Rules that hold everywhere
 *
 *   Errors    Functions that can fail return a status; ebts_last_error() says in a sentence what
 *             was expected, what came and what to do. Nothing is printed, no exception and no
 *             abort leaves the library. Besides those that are named with a function, INTERNAL
 *             may come from every one. Where a call fails, its output is as it was before it,
 *             unless said otherwise.
 *   Threads   A model may be shared by threads. A session serves one thread at a time; a second
 *             one that calls meanwhile gets EBTS_ERROR_BUSY and changes nothing. A live session
 *             may be submitted to, polled and self-tested by three threads at the same time.
 *   Handles   What was closed or destroyed, or never was, is EBTS_ERROR_CLOSED wherever it is
 *             passed, and nothing happens where it is closed or destroyed again.
 *   Memory    Buffers are yours, and no pointer to them is kept after a call returns. The library
 *             takes its memory when a model is opened and a session is created; for a frame it
 *             allocates nothing, whatever its size and format (a backend may have its own pool).
 *   Structs   Set `struct_size` to the sizeof of the struct, and every field that you do not use
 *             to 0, which is its default. A later library takes the shorter struct of an older
 *             program; an earlier one refuses a longer struct whose extra fields are not 0, and
 *             fills of a longer result what it knows.
 *   Pitch     Bytes from the start of one row to that of the next; 0: rows follow each other
 *             without a gap. What lies between rows is neither read nor written.
 *   NULL      Every pointer may be NULL where that is said; elsewhere NULL is EBTS_ERROR_ARGUMENT.
 */
#ifndef EDGE_BTS_EDGE_BTS_H
#define EDGE_BTS_EDGE_BTS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EBTS_API __attribute__((visibility("default")))
#else
#define EBTS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ---- */

#define EBTS_VERSION_MAJOR 0
#define EBTS_VERSION_MINOR 1
#define EBTS_VERSION_PATCH 0

/* The version of the library that runs, "0.1.0"; before 1.0 a minor version may change the ABI. */
EBTS_API const char* ebts_version(void);

/* The backends that this library was built with, e.g. "openvino tensorrt"; "" if there is none. */
EBTS_API const char* ebts_backends(void);

/* ---- Status ---- */

/* The values never change. The command line's exit code for the same fault is in brackets. */
typedef enum ebts_status {
    EBTS_OK = 0,

    /* No errors; ebts_last_error() does not change. */
    EBTS_NOTHING_NEW = 1, /* ebts_poll: no frame was finished since the last one. */

    EBTS_ERROR_ARGUMENT = 10,  /* NULL, a struct_size, an option out of range. */
    EBTS_ERROR_FRAME = 11,     /* A frame that describes no image: size, pitch, format, ROI. */
    EBTS_ERROR_TOO_LARGE = 12, /* A frame above max_width or max_height of its session. */
    EBTS_ERROR_PLANE = 13,     /* An output plane that is too small or whose pitch or alignment
                                * cannot be. */
    EBTS_ERROR_BUSY = 14,      /* Another thread is in this session. */
    EBTS_ERROR_CLOSED = 15,    /* A model or session that was closed or destroyed. */

    EBTS_ERROR_BUNDLE = 20,       /* No bundle there, or one that is malformed [2]. */
    EBTS_ERROR_INTEGRITY = 21,    /* Signature, key, hash or content of the folder [7]. */
    EBTS_ERROR_INCOMPATIBLE = 22, /* Needs a newer library, or a backend that is not here or does
                                   * not do it [3]. */
    EBTS_ERROR_SELF_TEST = 23,    /* The machine computes other golden frames than export [3]. */

    EBTS_ERROR_BACKEND = 30, /* The network failed on a frame. */
    EBTS_ERROR_STALLED = 31, /* Frames came, but no result for longer than stale_us. */
    EBTS_ERROR_MEMORY = 40,  /* Out of memory; what exists goes on working. */
    EBTS_ERROR_INTERNAL = 90 /* A defect of ours; please report what ebts_last_error() says. */
} ebts_status;

/* A few words for a status, never NULL. */
EBTS_API const char* ebts_status_text(ebts_status status);

/* What the last call of this thread that failed has to say; "" before there was one, never NULL.
 * Valid until the next call of this thread that fails. At most 511 bytes; longer texts are cut. */
EBTS_API const char* ebts_last_error(void);

/* ---- Model: an opened bundle; weights and compiled network ---- */

typedef struct ebts_model ebts_model;

typedef enum ebts_log_level {
    EBTS_LOG_INFO = 0,
    EBTS_LOG_WARNING = 1 /* What whoever answers for the device should know. */
} ebts_log_level;

/* Called inside ebts_model_open only, by its thread. `text` is valid during the call. */
typedef void (*ebts_log)(void* user, ebts_log_level level, const char* text);

typedef struct ebts_model_options {
    size_t struct_size;

    /* Whose bundles are opened: Ed25519 public keys, raw, `key_count` times 32 bytes ... */
    const uint8_t* keys;
    size_t key_count;
    /* ... and files NAME.pub (PEM) as `edge-bts key new` makes them. No environment variable and
     * no folder of the user adds to these. */
    const char* const* key_files;
    size_t key_file_count;
    /* Not 0: open a bundle without a signature, or by an unknown key; the log then warns. A
     * signature that is wrong is refused all the same. */
    uint32_t allow_unsigned;

    uint32_t threads; /* Threads inside one inference; 0 leaves it to the backend. */

    ebts_log log; /* NULL: nothing is told. */
    void* log_user;

    /* "openvino" (NULL: that), or "tensorrt": the engine that `edge-bts build` made of this bundle
     * on this device, in the folder that was its --cache. Neither environment nor user adds a
     * folder: an engine is code. None is built here. */
    const char* backend;
    const char* engine_folder;

    /* Not 0: each thread of an inference stays on one CPU, which steadies its time where the
     * machine has CPUs to spare and harms where it has none. */
    uint32_t pin_threads;
    /* A folder in which the backend keeps what it compiled, so that opening again is faster; made
     * if it is not there. NULL: none. Who can write there can change what runs: it is not part of
     * what is signed, and the golden frame is run whether it was used or not. */
    const char* cache_dir;
} ebts_model_options;

/* Opens the bundle in the folder `path` and compiles its network, which takes up to some seconds.
 *
 * What a step refuses no later one sees: sizes; the signature, before a parser sees a byte; the
 * manifest; the folder holds exactly the listed plain files; the hash of the very buffer that is
 * used; versions; the backend; one golden frame (a bundle without golden frames is opened, and
 * the log warns).
 *
 * `options`: NULL is all defaults; as no key is trusted then, every bundle is refused.
 * `model`: set to the model, or to NULL where opening fails. Close it with ebts_model_close.
 * Errors: ARGUMENT, BUNDLE, INTEGRITY, INCOMPATIBLE, SELF_TEST, BACKEND, MEMORY. A file of
 * key_files that is no key is ARGUMENT, and so is a cache_dir that cannot be written. */
EBTS_API ebts_status ebts_model_open(const char* path, const ebts_model_options* options,
                                     ebts_model** model);

/* Closes a model; NULL is fine. Sessions of it live on, and hold what they need. What
 * ebts_model_describe gave is gone. */
EBTS_API void ebts_model_close(ebts_model* model);

typedef struct ebts_model_info {
    size_t struct_size;
    const char* name;            /* Of the network, as its manifest has it. */
    const char* version;         /* As its maker counts. */
    const char* precision;       /* "fp32", "fp16" or "int8". */
    const char* backend;         /* "openvino 2026.1.0" or "tensorrt 10.3.0.26". */
    const char* signer;          /* Id of the key that signed (16 hexadecimal digits), or "". */
    const char* manifest_sha256; /* Identity of the bundle, 64 hexadecimal digits. */
    uint32_t trusted;            /* 1 if the signer is among your keys. */
    uint32_t self_tested;        /* 1 if a golden frame was reproduced. */
    uint32_t side;               /* The network sees a square of this many pixels. */
    float threshold;             /* From this probability on a pixel is lesion. */
    double presence_threshold;   /* Below this presence score the mask is emptied; 0: never. */
} ebts_model_info;

/* Fills `info`, whose struct_size you set. Its strings live as long as the model.
 * Errors: ARGUMENT, CLOSED. */
EBTS_API ebts_status ebts_model_describe(const ebts_model* model, ebts_model_info* info);

/* ---- Session: buffers for one stream of frames ---- */

typedef struct ebts_session ebts_session;

/* Called by the thread of a live session when ebts_poll has something: an alarm to wake a loop of
 * yours, or the place to poll. It may call every function with its session, and should return soon:
 * the next frame waits for it. */
typedef void (*ebts_ready)(void* user);

/* Where the pixels of a frame lie. */
typedef enum ebts_memory {
    EBTS_MEMORY_HOST = 0,
    EBTS_MEMORY_CUDA = 1 /* Memory that the GPU of the model reads by the address that is given: its
                          * own, managed, or mapped of the host. */
} ebts_memory;

typedef struct ebts_session_options {
    size_t struct_size;
    /* The largest frame that will come, in pixels, 1 to 16384 each. Frames may change their size
     * from one to the next up to this. Memory follows it: about 22 bytes a pixel are reserved, 66
     * for a live session, and those that are used become resident. */
    uint32_t max_width;
    uint32_t max_height;
    /* Most components that a result lists, the largest first; 0: 16. */
    uint32_t max_components;
    /* A frame that takes longer than this many microseconds is EBTS_HEALTH_LATE; 0: none is. In a
     * live session the time begins with ebts_submit, and includes waiting. */
    uint32_t deadline_us;

    /* Not 0: a live session, for ebts_submit and ebts_poll, with a thread of its own. */
    uint32_t live;
    /* Live: a result that is more than this many microseconds old when ebts_poll hands it out is
     * EBTS_HEALTH_STALE, and where frames come but no result for as long, ebts_poll says
     * EBTS_ERROR_STALLED. 0: twice deadline_us, or never where that is 0. */
    uint32_t stale_us;
    ebts_ready ready; /* Live; NULL: nobody is told. */
    void* ready_user;

    /* Hysteresis: once a frame had a presence of presence_threshold or more, those that follow keep
     * their mask down to this lower score, which stops flicker at the threshold and delays nothing.
     * Forgotten when the size or the region of the frame changes. 0: every frame is on its own.
     * Masks are never averaged over frames: each is of its frame alone, and lags behind nothing. */
    double presence_keep;

    /* An ebts_memory: where all frames of the session lie. With EBTS_MEMORY_CUDA gray, letterbox,
     * normalisation, the way back and the threshold run on the GPU, to the same bits, and nothing
     * but the mask and the network's square comes to the host. For the backend tensorrt; takes 2
     * bytes a pixel of the GPU's memory, 4 for a live session. */
    uint32_t memory;
} ebts_session_options;

/* Makes a session. Sessions of one model take turns in its network: open the bundle twice to run
 * two streams side by side.
 * `session`: set to the session, or to NULL where it cannot be made.
 * Errors: ARGUMENT, CLOSED, BACKEND, MEMORY; INCOMPATIBLE if the model takes no frames in that
 * memory. */
EBTS_API ebts_status ebts_session_create(const ebts_model* model,
                                         const ebts_session_options* options,
                                         ebts_session** session);

/* Destroys a session and all that its results point to; NULL is fine. Safe at any time, from any
 * thread and from `ready`: it waits for the calls that are in the session (a frame that runs ends
 * first), and for `ready`, unless it is called from there. Frames that wait are not run. */
EBTS_API void ebts_session_destroy(ebts_session* session);

/* Runs the golden frame again, e.g. once a minute between frames. Frames of a live session are
 * taken meanwhile, and run afterwards.
 * Errors: ARGUMENT, CLOSED, BUSY, SELF_TEST, BACKEND; BUNDLE if the bundle has no golden frames. */
EBTS_API ebts_status ebts_self_test(ebts_session* session);

/* ---- Frame in ---- */

/* Bytes of a pixel in the order of memory. Colour is reduced to its luma (ITU-R BT.601), so equal
 * channels come out as they are; Doppler and overlays that are burnt in stay in the image. */
typedef enum ebts_format {
    EBTS_GRAY8 = 1,
    EBTS_GRAY16 = 2, /* uint16_t of this machine; see gray16_white. */
    EBTS_RGB = 3,
    EBTS_BGR = 4,
    EBTS_RGBA = 5,
    EBTS_BGRA = 6,
    EBTS_ARGB = 7,
    EBTS_NV12 = 8 /* Its luma plane; `data` points to it, chroma is not read. */
} ebts_format;

typedef struct ebts_rect {
    int32_t x; /* Left column, from 0. */
    int32_t y; /* Top row, from 0. */
    int32_t width;
    int32_t height;
} ebts_rect;

typedef struct ebts_point {
    int32_t x;
    int32_t y;
} ebts_point;

typedef struct ebts_frame {
    size_t struct_size;
    const void* data;         /* The first pixel of the top row; GRAY16: aligned to 2 bytes. */
    size_t pitch;             /* At least width times the bytes of a pixel; GRAY16: even. */
    uint32_t width;           /* Pixels. */
    uint32_t height;          /* Pixels. */
    uint32_t format;          /* An ebts_format. */
    uint32_t gray16_white;    /* GRAY16: the value of white, e.g. 4095; 0 stands for 65535. Gray is
                               * floor((255 value + floor(white / 2)) / white), and 255 above. */
    double mm_per_pixel;      /* The same in both directions; 0: unknown. */
    uint64_t timestamp;       /* Yours; handed back with the result, not interpreted. */
    ebts_rect roi;            /* The network sees this part alone, and nothing is found outside it;
                               * width and height 0: the whole frame. Sector and depth scale cut tight
                               * give the network more pixels of tissue. */
    const ebts_point* sector; /* In place of a ROI: the corners of a polygon, 3 to 64, in order;
                               * NULL: none. The network sees its bounding box with black around
                               * the polygon, and nothing is found outside it. A corner (x, y) is
                               * the upper left of pixel (x, y), so that 0, 0 to width, height is
                               * the frame; pixels belong by their centre, and where the outline
                               * crosses itself every second field does. */
    size_t sector_count;

    uint32_t memory; /* An ebts_memory; that of its session. */
    void* stream;    /* EBTS_MEMORY_CUDA: the cudaStream_t whose work, as it is now, writes the
                      * frame (of the default stream: cudaStreamLegacy); NULL: it is written. */
} ebts_frame;

/* ---- Planes and result out ---- */

/* Where the planes go: width x height of the frame. */
typedef struct ebts_planes {
    size_t struct_size;
    uint8_t* mask;            /* 1 on lesion, else 0; NULL: not wanted. */
    size_t mask_pitch;        /* At least width. */
    float* probability;       /* 0 outside the ROI or sector; in [0, 1], or as the network gave it
                               * where health is NAN or OUT_OF_RANGE; NULL: not wanted. */
    size_t probability_pitch; /* At least 4 width; a multiple of 4. */

    /* The largest frame for which there is room: a larger one is EBTS_ERROR_PLANE. Both 0: room for
     * every frame that comes. */
    uint32_t width;
    uint32_t height;
} ebts_planes;

/* The health word: 0 is OK, else a sum of these. */
enum {
    EBTS_HEALTH_OK = 0,
    EBTS_HEALTH_LATE = 1,          /* Took longer than deadline_us. The result is right, but the
                                    * anatomy may have moved on. */
    EBTS_HEALTH_STALE = 2,         /* Older than stale_us when ebts_poll handed it out. */
    EBTS_HEALTH_EMPTY = 4,         /* The mask has no lesion pixel. */
    EBTS_HEALTH_NAN = 8,           /* The network gave what is no finite number ... */
    EBTS_HEALTH_OUT_OF_RANGE = 16, /* ... or a probability outside [0, 1] (by more than 1e-4). Then
                                    * the mask is empty, as nothing in it could be believed. */
    EBTS_HEALTH_SATURATED = 32, /* Half of the frame (of its ROI or sector) or more is white: gain
                                 * too high, or not ultrasound. The mask is what the network made
                                 * of it. */

    /* Nothing of a result with one of these should be drawn. */
    EBTS_HEALTH_UNUSABLE = EBTS_HEALTH_LATE | EBTS_HEALTH_STALE | EBTS_HEALTH_NAN |
        EBTS_HEALTH_OUT_OF_RANGE
};

/* One 8-connected part of the mask. Coordinates are of the whole frame; the centre of pixel (x, y)
 * lies at (x, y). Lengths go from outline to outline, and a pixel's outline is the diamond of its
 * four edge midpoints: a row of n pixels is n px long. In mm and mm2: 0 where mm_per_pixel is 0. */
typedef struct ebts_component {
    uint32_t area_px; /* Pixels; holes do not count. */
    ebts_rect bbox;   /* Upright box in whole pixels. */
    double area_mm2;
    double centroid[2]; /* Mean (x, y) of the pixel centres. */
    double longest_px;  /* Longest diameter (maximal Feret diameter). */
    double longest_mm;
    double longest_ends[2][2]; /* Its two ends, (x, y) each. */
    double orthogonal_px;      /* Extent perpendicular to the longest diameter. */
    double orthogonal_mm;
    const ebts_point* contour; /* Outer border, closed: pixel centres from the top row's leftmost
                                * pixel on, downwards first. Thin parts are passed both ways. */
    size_t contour_count;
} ebts_component;

typedef struct ebts_result {
    size_t struct_size;
    uint32_t health;           /* 0 or a sum of EBTS_HEALTH_...; look at it before you draw. */
    uint32_t component_count;  /* Entries of `components`. */
    uint32_t components_found; /* The same before max_components cut it. */
    uint32_t width;            /* Of the frame. */
    uint32_t height;
    /* By falling area, then from top to bottom and left to right. They and their contours live in
     * the session: valid until its next ebts_segment, until ebts_poll says anything but
     * EBTS_NOTHING_NEW, or its end. NULL if there are none. */
    const ebts_component* const* components;
    double presence;       /* Score in [0, 1] that there is a lesion at all: the mean of the highest
                            * 0.2 % of the network's probabilities. Below the presence_threshold of
                            * the model the mask is empty (see presence_keep). */
    uint64_t timestamp;    /* Of the frame. */
    uint64_t sequence;     /* Of the frame: 1 for the first of the session, then one more each, also
                            * for those that were refused, failed or were dropped. */
    double preprocess_ms;  /* Gray, letterbox, normalise. */
    double inference_ms;   /* The network alone. */
    double postprocess_ms; /* Presence, back to source, threshold, components. */

    /* Of ebts_poll; 0 from ebts_segment. */
    double wait_ms;        /* From ebts_submit until the session's thread began. */
    double age_ms;         /* From ebts_submit until it was handed out. */
    uint64_t newer_frames; /* Submitted since: the image on the screen is no longer its own, if this
                            * is not 0. */

    double mm_per_pixel; /* Of the frame; 0: no length in mm is known. */
} ebts_result;

/* Segments one frame; returns when all is done. Not for a live session.
 *
 * `planes`: where mask and probability go; NULL: the measures alone are wanted. They overlap
 *   neither each other nor the frame.
 * `result`: filled; set its struct_size. What its pointers of an earlier frame pointed to is gone,
 *   also where the call fails.
 * Errors: ARGUMENT, CLOSED, FRAME, TOO_LARGE, PLANE, BUSY, with nothing written; BACKEND, where
 * planes and result stay as they were. There is no result without a health word. */
EBTS_API ebts_status ebts_segment(ebts_session* session, const ebts_frame* frame,
                                  const ebts_planes* planes, ebts_result* result);

/* ---- Live: the thread that has the frames never waits ----
 *
 *   static void on_image(scanner_image *image)            // the scanner's thread
 *   {
 *       ebts_frame frame = describe(image);
 *       if (ebts_submit(session, &frame) != EBTS_OK) report(ebts_last_error());
 *   }
 *
 *   static void on_refresh(void)                          // the display's thread
 *   {
 *       ebts_planes planes = {.struct_size = sizeof planes, .mask = mask};
 *       ebts_result result = {.struct_size = sizeof result};
 *       ebts_status status = ebts_poll(session, 0, &planes, &result);
 *
 *       if (status == EBTS_NOTHING_NEW)
 *           return;                                       // what is drawn is still right
 *       if (status != EBTS_OK)
 *           hide_overlay(ebts_last_error());
 *       else if (result.health & EBTS_HEALTH_UNUSABLE)
 *           hide_overlay("no result for this frame");
 *       else
 *           draw(mask, result.components, result.component_count, result.timestamp);
 *   }
 *
 * The session's thread always takes the newest frame (the session was created with .live = 1 and,
 * at 30 frames a second, .deadline_us = 33000): one that waits is dropped when a newer one
 * comes, and so is a result that nobody fetched. At most one frame waits, so that load never adds
 * to the delay. */

/* Hands a frame to a live session: copies the gray of its region and returns. It waits for no
 * frame that runs; where the frame lies on a GPU it waits for its stream, and until the GPU has
 * read it. `frame` and what it points to are yours again.
 * Errors: ARGUMENT (also for a session that is not live), CLOSED, FRAME, TOO_LARGE, BUSY; BACKEND
 * where a GPU failed to read it. A frame that is refused counts as an error (but for BUSY, NULL and
 * CLOSED), and no result comes of it. */
EBTS_API ebts_status ebts_submit(ebts_session* session, const ebts_frame* frame);

/* Hands out the newest result of a live session, once.
 *
 * `wait_us`: how long to wait for one if there is none yet; 0 returns at once.
 * `planes`: as for ebts_segment, of the size of the frame that was submitted (see the width and
 *   height of the result). Where sizes change, make planes large enough for all, or say in their
 *   width and height how large they are: a result with a larger frame then waits. Mask and
 *   probability are copied. The probability is worked out only here, by the calling thread.
 * `result`: filled where EBTS_OK is returned, else as it was.
 * NOTHING_NEW: no frame was finished since the last call, and the result of before is still right.
 * Errors: ARGUMENT, CLOSED, BUSY; PLANE, where the result waits for another call. BACKEND or
 * INTERNAL: a frame failed, and this is the newest; nothing of before should be drawn any longer.
 * STALLED: the same, because a frame has been submitted more than stale_us ago and nothing has been
 * finished since; told at once when it begins, and then after `wait_us`. Frames go on being taken;
 * a result ends the stall. */
EBTS_API ebts_status ebts_poll(ebts_session* session, uint32_t wait_us, const ebts_planes* planes,
                               ebts_result* result);

/* Where the frames of a session are; at every moment
 * frames = results + errors + dropped + pending. */
typedef struct ebts_counts {
    size_t struct_size;
    uint64_t frames;  /* Calls of ebts_submit or ebts_segment, but for BUSY, NULL and CLOSED. */
    uint64_t results; /* Handed out. */
    uint64_t errors;  /* Refused, or the network failed on them. */
    uint64_t dropped; /* A newer one came before they were run, or fetched. */
    uint64_t pending; /* Wait, run or can be fetched: 3 at most. */
} ebts_counts;

/* Fills `counts`, whose struct_size you set. May be called by any thread at any time.
 * Errors: ARGUMENT, CLOSED. */
EBTS_API ebts_status ebts_session_counts(const ebts_session* session, ebts_counts* counts);

#ifdef __cplusplus
}
#endif

#endif /* EDGE_BTS_EDGE_BTS_H */
