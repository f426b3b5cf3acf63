/* Segments one image: segment_one BUNDLE KEY.pub IMAGE.pgm [MM_PER_PIXEL]
 *
 * IMAGE is a raw PGM (P5) of 8 bits; `ffmpeg -i image.png image.pgm` makes one. Prints the health
 * word, the presence score and a line for every component. */
#include <edge_bts/edge_bts.h>
#include <stdio.h>
#include <stdlib.h>

static int refuse(const char* text) {
    fprintf(stderr, "segment_one: %s\n", text);
    return 1;
}

/* Returns the pixels of a P5 file without comments, or NULL. */
static unsigned char* read_pgm(const char* path, unsigned* width, unsigned* height) {
    unsigned white = 0;
    unsigned char* pixels = NULL;
    FILE* file = fopen(path, "rb");
    if (file == NULL) return NULL;
    if (fscanf(file, "P5 %5u %5u %3u", width, height, &white) == 3 && fgetc(file) != EOF &&
        white == 255 && *width > 0 && *height > 0) {
        const size_t count = (size_t)*width * *height;
        pixels = malloc(count);
        if (pixels != NULL && fread(pixels, 1, count, file) != count) {
            free(pixels);
            pixels = NULL;
        }
    }
    fclose(file);
    return pixels;
}

static void print(const ebts_result* result) {
    printf("health %u, presence %.3f, %.2f ms\n", (unsigned)result->health, result->presence,
           result->preprocess_ms + result->inference_ms + result->postprocess_ms);
    for (uint32_t i = 0; i < result->component_count; ++i) {
        const ebts_component* c = result->components[i];
        printf("component %u: area %u px, %.2f x %.2f px, box %d %d %d %d, contour of %lu points",
               (unsigned)i + 1, (unsigned)c->area_px, c->longest_px, c->orthogonal_px,
               (int)c->bbox.x, (int)c->bbox.y, (int)c->bbox.width, (int)c->bbox.height,
               (unsigned long)c->contour_count);
        if (c->longest_mm > 0) printf(", %.2f x %.2f mm", c->longest_mm, c->orthogonal_mm);
        printf("\n");
    }
}

static int segment(const ebts_model* model, const unsigned char* pixels, unsigned width,
                   unsigned height, double mm) {
    ebts_session_options limits = {
        .struct_size = sizeof limits, .max_width = width, .max_height = height};
    ebts_frame frame = {.struct_size = sizeof frame,
                        .data = pixels,
                        .width = width,
                        .height = height,
                        .format = EBTS_GRAY8,
                        .mm_per_pixel = mm};
    ebts_result result = {.struct_size = sizeof result};
    ebts_session* session = NULL;
    ebts_status status = ebts_session_create(model, &limits, &session);
    if (status == EBTS_OK) status = ebts_segment(session, &frame, NULL, &result);
    if (status == EBTS_OK) print(&result);
    ebts_session_destroy(session);
    return status == EBTS_OK ? 0 : refuse(ebts_last_error());
}

int main(int argc, char** argv) {
    if (argc != 4 && argc != 5) {
        return refuse("usage: segment_one BUNDLE KEY.pub IMAGE.pgm [MM_PER_PIXEL]");
    }
    const char* const keys[] = {argv[2]};
    ebts_model_options how = {.struct_size = sizeof how, .key_files = keys, .key_file_count = 1};
    ebts_model* model = NULL;
    if (ebts_model_open(argv[1], &how, &model) != EBTS_OK) return refuse(ebts_last_error());

    unsigned width = 0;
    unsigned height = 0;
    unsigned char* pixels = read_pgm(argv[3], &width, &height);
    const int code = pixels == NULL
                         ? refuse("expected a raw PGM (P5) of 8 bits")
                         : segment(model, pixels, width, height, argc == 5 ? atof(argv[4]) : 0.0);
    free(pixels);
    ebts_model_close(model);
    return code;
}
