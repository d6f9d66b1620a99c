/* What all targets share: a check that ends the run, and taking values from the bytes that libFuzzer made up. */
#ifndef FUZZ_H
#define FUZZ_H

#include <broadcaster/broadcaster.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer keeps the input of a run that aborts. */
#define CHECK(what, ...)                                                                                               \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "\n%s:%d: %s: ", __FILE__, __LINE__, #what);                                               \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, " (%s)\n", bcast_error_text());                                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of the input. Behind its end everything is 0. */
struct input {
    const uint8_t *at, *end;
};

static inline size_t input_left(const struct input *in)
{
    return (size_t)(in->end - in->at);
}

static inline uint8_t input_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static inline unsigned input_below(struct input *in, unsigned bound) /* at most 256 */
{
    return input_byte(in) % bound;
}

static inline uint64_t input_number(struct input *in, unsigned bytes)
{
    uint64_t number = 0;
    while (bytes-- > 0)
        number = number << 8 | input_byte(in);
    return number;
}

/* A copy of exactly its size, so that AddressSanitizer sees every byte too far; with a NUL behind it that is not counted. */
static inline char *input_copy(const void *from, size_t size)
{
    char *copy = malloc(size + 1);
    CHECK(copy != NULL, "out of memory");
    if (size != 0)
        memcpy(copy, from, size);
    copy[size] = '\0';
    return copy;
}

/* Up to `most` bytes, their number first. */
static inline char *input_bytes(struct input *in, size_t most, size_t *size)
{
    *size = most < 256 ? input_below(in, (unsigned)most + 1) : input_number(in, 2) % (most + 1);
    if (*size > input_left(in))
        *size = input_left(in);
    char *bytes = input_copy(in->at, *size);
    in->at += *size;
    return bytes;
}

/* The same as a string, which ends at the first NUL. */
static inline char *input_text(struct input *in, size_t most)
{
    size_t size;
    return input_bytes(in, most, &size);
}

#endif
