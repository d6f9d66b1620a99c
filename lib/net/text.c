#include "text.h"

#include <stdint.h>
#include <string.h>

/* How many bytes the character at `at` has; 0: it is none. */
static size_t utf8_step(const unsigned char *at, size_t left)
{
    static const struct {
        unsigned char least, most, second_least, second_most;
        size_t size;
    } table[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (*at < table[i].least || *at > table[i].most)
            continue;
        if (left < table[i].size)
            return 0;
        for (size_t k = 2; k < table[i].size; k++)
            if ((at[k] & 0xc0) != 0x80)
                return 0;
        return i == 0 || (at[1] >= table[i].second_least && at[1] <= table[i].second_most) ? table[i].size : 0;
    }
    return 0;
}

bool text_is_utf8(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    while (size != 0) {
        uint64_t word;
        if (size >= sizeof word && (memcpy(&word, at, sizeof word), (word & UINT64_C(0x8080808080808080)) == 0)) {
            at += sizeof word;
            size -= sizeof word;
            continue;
        }
        size_t step = utf8_step(at, size);
        if (step == 0)
            return false;
        at += step;
        size -= step;
    }
    return true;
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t text_to_base64(const void *bytes, size_t size, bool padded, char *out)
{
    const unsigned char *at = bytes;
    char *begin = out;
    for (; size >= 3; size -= 3, at += 3) {
        uint32_t bits = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = digits[bits >> shift & 63];
    }
    if (size == 0)
        return (size_t)(out - begin);
    uint32_t bits = (uint32_t)at[0] << 16 | (size == 2 ? (uint32_t)at[1] << 8 : 0);
    *out++ = digits[bits >> 18];
    *out++ = digits[bits >> 12 & 63];
    if (size == 2)
        *out++ = digits[bits >> 6 & 63];
    for (size_t i = size; padded && i < 3; i++)
        *out++ = '=';
    return (size_t)(out - begin);
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool text_from_base64(const char *text, size_t size, unsigned char *out, size_t *out_size)
{
    unsigned char *begin = out;
    uint32_t bits = 0;
    unsigned count = 0;
    bool whole = size % 4 == 0;
    for (int padding = 0; padding < 2 && whole && size != 0 && text[size - 1] == '='; padding++)
        size--;
    if (size % 4 == 1)
        return false;
    for (size_t i = 0; i < size; i++) {
        int value = value_of(text[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            *out++ = (unsigned char)(bits >> count);
        }
    }
    *out_size = (size_t)(out - begin);
    return (bits & ((1u << count) - 1)) == 0;
}
