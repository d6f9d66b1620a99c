#include "pump.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t pump_chance(uint64_t seed, uint64_t connection, unsigned way, uint64_t place)
{
    return mix(mix(seed) ^ mix(connection * 2 + way) ^ place);
}

void pump_rule(struct pump *pump, uint64_t generation)
{
    pump->generation = generation;
    pump->counted_from = pump->written;
    pump->acted = pump->silenced = false;
    pump->burst = 0;
    pump->budget = 0;
    pump->budget_us = 0;
}

size_t pump_room(const struct pump *pump, const struct proxy_rule *rule)
{
    size_t room = PUMP_ROOM > rule->merge_bytes ? PUMP_ROOM : rule->merge_bytes;
    bool stopped = rule->silent || pump->silenced || pump->eof;
    return stopped || pump->held >= room ? 0 : room - pump->held;
}

static void make_room(struct pump *pump, size_t more)
{
    if (pump->held + more <= pump->room)
        return;
    pump->room = (pump->held + more) * 2;
    pump->data = realloc(pump->data, pump->room);
    if (pump->data == NULL)
        abort();
}

static unsigned char change(const struct proxy_rule *rule, uint64_t key, uint64_t place, unsigned char byte)
{
    if (rule->replace_size != 0)
        return ((const unsigned char *)rule->replace)[place % rule->replace_size];
    if (rule->flips == 0)
        return byte;
    uint64_t chance = mix(key ^ mix(place));
    return chance % 1000000 < rule->flips ? (unsigned char)(byte ^ 1u << (chance >> 61)) : byte;
}

static void set_due(struct pump *pump, const struct proxy_rule *rule, uint64_t key, size_t size, int64_t now_us)
{
    uint64_t jitter = rule->jitter_ms == 0 ? 0 : mix(key ^ pump->read) % (rule->jitter_ms * UINT64_C(1000) + 1);
    int64_t due = now_us + (int64_t)rule->delay_ms * 1000 + (int64_t)jitter;
    if (due < pump->last_due_us)
        due = pump->last_due_us;
    pump->last_due_us = due;
    if (due <= now_us && pump->marks_count == 0) {
        pump->due += size;
        return;
    }
    unsigned i = pump->marks_count < PUMP_MARKS ? pump->marks_count++ : PUMP_MARKS - 1;
    if (i == PUMP_MARKS - 1)
        pump->marks[i].size += size; /* zero, if it is new */
    else
        pump->marks[i].size = size;
    pump->marks[i].due_us = due;
}

void pump_push(struct pump *pump, const struct proxy_rule *rule, uint64_t key, const unsigned char *bytes, size_t size,
               int64_t now_us)
{
    make_room(pump, size);
    for (size_t i = 0; i < size; i++)
        pump->data[pump->held + i] = change(rule, key, pump->read + i, bytes[i]);
    if (pump->held == 0)
        pump->held_since_us = now_us;
    set_due(pump, rule, key, size, now_us);
    pump->held += size;
    pump->read += size;
}

void pump_inject(struct pump *pump, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    make_room(pump, size);
    memmove(pump->data + size, pump->data, pump->held);
    memcpy(pump->data, bytes, size);
    pump->held += size;
    pump->due += size;
    if (pump->burst != 0)
        pump->burst += size;
}

static void earlier(int64_t *again_us, int64_t when_us)
{
    if (when_us < *again_us)
        *again_us = when_us;
}

static void ripen(struct pump *pump, int64_t now_us, int64_t *again_us)
{
    unsigned count = 0;
    while (count < pump->marks_count && pump->marks[count].due_us <= now_us)
        pump->due += pump->marks[count++].size;
    pump->marks_count -= count;
    memmove(pump->marks, pump->marks + count, pump->marks_count * sizeof pump->marks[0]);
    memset(pump->marks + pump->marks_count, 0, count * sizeof pump->marks[0]);
    if (pump->marks_count != 0)
        earlier(again_us, pump->marks[0].due_us);
}

/* Are there enough, or have they waited long enough? Then all of them may go, in whatever pieces. */
static size_t merge(struct pump *pump, const struct proxy_rule *rule, int64_t now_us, int64_t *again_us)
{
    if (rule->merge_bytes == 0)
        return pump->due;
    int64_t end = pump->held_since_us + (int64_t)rule->merge_ms * 1000;
    if (pump->burst == 0 && (pump->due >= rule->merge_bytes || pump->eof || (rule->merge_ms != 0 && now_us >= end)))
        pump->burst = pump->due;
    if (pump->burst == 0 && pump->due != 0 && rule->merge_ms != 0)
        earlier(again_us, end);
    return pump->burst;
}

static size_t drip(struct pump *pump, const struct proxy_rule *rule, size_t size, int64_t now_us, int64_t *again_us)
{
    const int64_t byte = 1000000;
    int64_t rate = rule->bytes_per_second, most = rate * byte / 10 + byte;
    if (rate == 0 || size == 0)
        return size;
    if (pump->budget_us == 0)
        pump->budget_us = now_us;
    int64_t passed = now_us - pump->budget_us;
    pump->budget_us = now_us;
    pump->budget = passed > most / rate || pump->budget + passed * rate > most ? most : pump->budget + passed * rate;
    if (pump->budget < byte) {
        earlier(again_us, now_us + (byte - pump->budget) / rate + 1);
        return 0;
    }
    size_t allowed = (size_t)(pump->budget / byte);
    return size < allowed ? size : allowed;
}

static size_t least(size_t a, uint64_t b)
{
    return a < b ? a : (size_t)b;
}

size_t pump_ready(struct pump *pump, const struct proxy_rule *rule, uint64_t key, int64_t now_us, int64_t *again_us)
{
    ripen(pump, now_us, again_us);
    if (rule->silent || pump->silenced)
        return 0;
    size_t size = merge(pump, rule, now_us, again_us);
    if (rule->action != PROXY_NOTHING && !pump->acted)
        size = least(size, rule->after - (pump->written - pump->counted_from));
    if (rule->piece != 0)
        size = least(size, rule->any_piece ? 1 + mix(key ^ pump->written) % rule->piece : rule->piece);
    return drip(pump, rule, size, now_us, again_us);
}

void pump_wrote(struct pump *pump, size_t size, int64_t now_us)
{
    memmove(pump->data, pump->data + size, pump->held - size);
    pump->held -= size;
    pump->due -= size;
    pump->burst -= least(pump->burst, size);
    pump->budget -= (int64_t)size * 1000000;
    pump->written += size;
    pump->held_since_us = now_us;
}

bool pump_acts(const struct pump *pump, const struct proxy_rule *rule)
{
    return rule->action != PROXY_NOTHING && !pump->acted && pump->written - pump->counted_from >= rule->after;
}

void pump_free(struct pump *pump)
{
    free(pump->data);
    pump->data = NULL;
}
