#include "json.h"

#include <stdint.h>
#include <string.h>

/* How many bytes a character has that begins with `first`, and the least code point that needs so many; 0: none does. */
static size_t length_of(unsigned char first, uint32_t *least, uint32_t *code)
{
    static const struct {
        unsigned char mask, mark;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t i = 0; i < 4; i++)
        if ((first & forms[i].mask) == forms[i].mark) {
            *least = forms[i].least;
            *code = first & ~forms[i].mask & 0xffu;
            return i + 1;
        }
    return 0;
}

bool json_utf8(const void *data, size_t size)
{
    const unsigned char *at = data, *end = at + size;
    while (at < end) {
        uint32_t least = 0, code = 0;
        size_t length = length_of(*at, &least, &code);
        if (length == 0 || length > (size_t)(end - at))
            return false;
        for (size_t i = 1; i < length; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return false;
            code = code << 6 | (at[i] & 0x3fu);
        }
        if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
            return false;
        at += length;
    }
    return true;
}

static bool plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
}

static void escape(FILE *out, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *found = c != '\0' ? strchr(from, c) : NULL;
    if (found != NULL)
        fprintf(out, "\\%c", to[found - from]);
    else
        fprintf(out, "\\u%04x", c);
}

void json_string(FILE *out, const void *data, size_t size)
{
    const unsigned char *at = data, *end = at + size;
    putc('"', out);
    while (at < end) {
        const unsigned char *from = at;
        while (at < end && plain(*at))
            at++;
        fwrite(from, 1, (size_t)(at - from), out);
        if (at < end)
            escape(out, *at++);
    }
    putc('"', out);
}

void json_base64(FILE *out, const void *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = data;
    for (size_t left = size; left != 0; left -= left < 3 ? left : 3, at += 3) {
        uint32_t bits = (uint32_t)at[0] << 16 | (left > 1 ? (uint32_t)at[1] << 8 : 0) | (left > 2 ? at[2] : 0);
        char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63], left > 1 ? digits[bits >> 6 & 63] : '=',
                        left > 2 ? digits[bits & 63] : '='};
        fwrite(four, 1, 4, out);
    }
}

void json_bytes(FILE *out, const char *name, const void *data, size_t size)
{
    bool text = data == NULL || json_utf8(data, size);
    fprintf(out, "\"%s%s\":", name, text ? "" : "_base64");
    if (data == NULL) {
        fputs("null", out);
    } else if (text) {
        json_string(out, data, size);
    } else {
        putc('"', out);
        json_base64(out, data, size);
        putc('"', out);
    }
}

void json_text(FILE *out, const char *name, const char *text)
{
    json_bytes(out, name, text, text != NULL ? strlen(text) : 0);
}
