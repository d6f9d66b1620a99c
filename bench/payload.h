/* What benchmark messages hold, so that whoever reads them can tell that they are whole, and in order. The same for the
 * library and for everything it is compared with. */
#ifndef PAYLOAD_H
#define PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PAYLOAD_MIN 16 /* bytes: mark and time; the rest is derived from them */
#define PAYLOAD_PUBLISHERS 64

static inline uint64_t payload_mark(unsigned publisher, uint64_t number)
{
    return (uint64_t)publisher << 56 | number;
}

static inline uint64_t payload_word(uint64_t mark, size_t i)
{
    return mark * UINT64_C(0x9e3779b97f4a7c15) + i;
}

/* How much of a message is looked at. */
enum payload_depth {
    PAYLOAD_BYTES, /* every byte, and that each publisher's messages come in order */
    PAYLOAD_TEXT,  /* the same of messages that are text: mark and time in hexadecimal, then spaces */
    PAYLOAD_SUM    /* its number, and at the end that the numbers add up: what other programs' benchmarks do */
};

#define PAYLOAD_TEXT_MIN 32

static inline void payload_hex(unsigned char *at, uint64_t value)
{
    for (int i = 15; i >= 0; i--, value >>= 4)
        at[i] = (unsigned char)"0123456789abcdef"[value & 15];
}

static inline uint64_t payload_unhex(const unsigned char *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 16; i++)
        value = value << 4 | ((at[i] & 15u) + (at[i] >= 'a' ? 9u : 0));
    return value;
}

static inline void payload_fill(unsigned char *data, size_t size, uint64_t mark, uint64_t time_ns,
                                enum payload_depth depth)
{
    if (depth == PAYLOAD_TEXT) {
        payload_hex(data, mark);
        payload_hex(data + 16, time_ns);
        memset(data + PAYLOAD_TEXT_MIN, ' ', size - PAYLOAD_TEXT_MIN);
        return;
    }
    memcpy(data, &mark, 8);
    memcpy(data + 8, &time_ns, 8);
    for (size_t i = 16; i + 8 <= size && depth == PAYLOAD_BYTES; i += 8) {
        uint64_t word = payload_word(mark, i);
        memcpy(data + i, &word, 8);
    }
}

/* One reader's view. */
struct payload_reader {
    uint64_t next[PAYLOAD_PUBLISHERS]; /* the number expected of each publisher */
    uint64_t sum;                      /* of all marks */
    uint64_t wrong;                    /* torn, out of order, or missing where nothing may be */
};

/* Is it the number that comes next of its publisher? `gaps` allows numbers to be missing. 0: yes. */
static inline uint64_t payload_order(struct payload_reader *reader, uint64_t mark, bool gaps)
{
    uint64_t *next = &reader->next[mark >> 56 & (PAYLOAD_PUBLISHERS - 1)];
    uint64_t number = mark & ((UINT64_C(1) << 56) - 1);
    uint64_t wrong = gaps ? (uint64_t)(number < *next) : number ^ *next;
    *next = number + 1;
    return wrong;
}

/* Looks at a message that should have `expected` bytes. Returns the time stamp, 0 for most messages. */
static inline uint64_t payload_check(struct payload_reader *reader, const unsigned char *data, size_t size,
                                     size_t expected, bool gaps, enum payload_depth depth)
{
    uint64_t mark, time_ns, wrong = size ^ expected;
    if (depth == PAYLOAD_TEXT) {
        wrong |= payload_order(reader, payload_unhex(data), gaps);
        for (size_t i = PAYLOAD_TEXT_MIN; i < size; i++)
            wrong |= data[i] ^ (uint64_t)' ';
        reader->wrong += wrong != 0;
        return payload_unhex(data + 16);
    }
    memcpy(&mark, data, 8);
    memcpy(&time_ns, data + 8, 8);
    if (depth == PAYLOAD_BYTES)
        wrong |= payload_order(reader, mark, gaps);
    else
        reader->sum += mark;
    for (size_t i = 16; i + 8 <= size && depth == PAYLOAD_BYTES; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        wrong |= word ^ payload_word(mark, i);
    }
    reader->wrong += wrong != 0;
    return time_ns;
}

/* The sum of the marks of everything that `publishers` have published, `each` messages of theirs. */
static inline uint64_t payload_sum(unsigned publishers, uint64_t each)
{
    uint64_t sum = 0;
    for (unsigned p = 0; p < publishers; p++)
        sum += payload_mark(p, 0) * each + each * (each - 1) / 2;
    return sum;
}

#endif
