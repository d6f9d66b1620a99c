/* The word that reserves room in a ring: WAIT:1 SEALED:1 offset/8:15 records:15 segment number:32. A publisher that
 * slept between loading and exchanging it would be fooled only if, meanwhile, 2^32 segments went by and the very same
 * offset and count came up. */
#ifndef WORD_H
#define WORD_H

#include <stdint.h>

#define WORD_WAIT UINT64_C(1)   /* a reader waits: who takes it away rings */
#define WORD_SEALED UINT64_C(2) /* a keeper is linking the next segment */
#define WORD_MAX_RECORDS 0x7fffu

static inline uint64_t word_offset(uint64_t word)
{
    return (word >> 2 & 0x7fff) * 8;
}
static inline uint32_t word_records(uint64_t word)
{
    return (uint32_t)(word >> 17) & 0x7fff;
}
static inline uint32_t word_number(uint64_t word)
{
    return (uint32_t)(word >> 32);
}
static inline uint64_t word_at(uint64_t number, uint64_t offset, uint64_t records)
{
    return number << 32 | records << 17 | offset / 8 << 2;
}
/* One record of `bytes` (a multiple of 8) further on, nobody waiting. */
static inline uint64_t word_advance(uint64_t word, uint64_t bytes)
{
    return (word & ~WORD_WAIT) + (bytes / 8 << 2) + (UINT64_C(1) << 17);
}

#endif
