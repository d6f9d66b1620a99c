#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-1-3: who does not know the secret cannot make names collide. */
uint64_t hash_bytes(const uint64_t secret[2], const void *bytes, size_t size);
void hash_secret(uint64_t secret[2]); /* a fresh one */

#endif
