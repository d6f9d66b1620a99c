#define _POSIX_C_SOURCE 200809L
#include "base/hash.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))

static void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = ROTATE(v[1], 13) ^ v[0];
    v[3] = ROTATE(v[3], 16) ^ v[2];
    v[0] = ROTATE(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = ROTATE(v[1], 17) ^ v[2];
    v[3] = ROTATE(v[3], 21) ^ v[0];
    v[2] = ROTATE(v[2], 32);
}

uint64_t hash_bytes(const uint64_t secret[2], const void *bytes, size_t size)
{
    uint64_t v[4] = {secret[0] ^ UINT64_C(0x736f6d6570736575), secret[1] ^ UINT64_C(0x646f72616e646f6d),
                     secret[0] ^ UINT64_C(0x6c7967656e657261), secret[1] ^ UINT64_C(0x7465646279746573)};
    const unsigned char *at = bytes;
    for (size_t left = size;; left -= 8, at += 8) {
        uint64_t word = 0;
        memcpy(&word, at, left < 8 ? left : 8);
        if (left < 8)
            word |= (uint64_t)size << 56;
        v[3] ^= word;
        mix(v);
        v[0] ^= word;
        if (left < 8)
            break;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        mix(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void hash_secret(uint64_t secret[2])
{
    secret[0] = (uint64_t)clock_ns(); /* where the system has no better, at least not the same every time */
    secret[1] = (uint64_t)(uintptr_t)secret;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    uint64_t random[2];
    if (read(fd, random, sizeof random) == (ssize_t)sizeof random) {
        secret[0] ^= random[0];
        secret[1] ^= random[1];
    }
    close(fd);
}
