/* Atomics after C11, without consume and stand-alone fences: every place has the list of the values stored there; a thread
 * knows, of each place, the oldest it may still read. A release store carries what its thread knows along, an acquire load
 * takes it. Stores are in the order in which they were executed, so none is ever put between two older ones. Plain memory
 * has one value, and a vector clock that tells whether two accesses were ordered. */
#include "model.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PLACES 2048
#define VALUES 65536
#define KNOWLEDGES 32768
#define THREADS (MODEL_THREADS + 1)
#define OLDEST 12 /* so many values older than the newest may be read */

struct knowledge {
    uint32_t clock[THREADS];
    uint16_t oldest[PLACES];
};

struct value {
    uint64_t value;
    uint64_t event;     /* who has stored it, after what: see past */
    uint32_t knowledge; /* index; 0: none */
};

/* What a thread has read since it last had to yield, or written by an exchange. */
struct looks {
    uint16_t place[64];
    uint64_t value[64];
    unsigned count;
    bool too_many;
};

struct place {
    uintptr_t address;
    uint32_t run;
    uint32_t last_value, count;
    uint32_t by_number[64]; /* the newest 64, by number modulo 64 */
    uint16_t last_sequential;
    bool set_up_again; /* by plain memory: its newest value is what is there */
};

struct cell { /* a byte of plain memory */
    uint32_t run;
    uint32_t written_at, read_at[THREADS], used_at[THREADS]; /* used: by an atomic operation */
    uint8_t written_by;
    bool freed;
};

static struct place places[PLACES];
static uint16_t place_of_slot[PLACES * 4];
static uint32_t slot_run[PLACES * 4];
static unsigned place_count;
static struct value values[VALUES];
static unsigned value_count;
static struct knowledge knowledges[KNOWLEDGES];
static unsigned knowledge_count;
static struct knowledge known[THREADS];
static struct cell cells[PLATFORM_BYTES];
static uint32_t run;
static struct looks looks[THREADS];

/* All that a thread has done, as a number: of every access the place, and the event of the value that was there. It says
 * all there is to say of the thread; and the pasts of all threads together, of memory and of what is known to whom: the
 * order in which they made their steps does not matter but where one has read, or replaced, what another had written. */
static uint64_t past[THREADS];

/* The same in short: the values that it has read since its scenario last said where it stands (model_at). Together with
 * what is in memory now that says all there is to say, unless old values may be read; but not what is known to whom. */
static uint64_t values_read[THREADS];
static uint64_t freed_blocks;
static uint64_t orders[64]; /* of what is no access, but happens in one order: of futexes, and of allocations */

static bool learning;
static struct users {
    uint8_t all, writing; /* a bit for each thread */
} users[PLATFORM_BYTES];  /* by place in the arena; survives runs */
static struct {
    uint32_t offset;
    struct users users;
} learnt[256];
static unsigned learnt_count;

void memory_model_reset(void)
{
    memset(looks, 0, sizeof looks);
    memset(past, 0, sizeof past);
    memset(values_read, 0, sizeof values_read);
    freed_blocks = 0;
    memset(orders, 0, sizeof orders);
    for (unsigned t = 0; t < THREADS; t++) {
        memset(known[t].clock, 0, sizeof known[t].clock);
        memset(known[t].oldest, 0, place_count * sizeof known[t].oldest[0]);
        known[t].clock[t] = 1;
    }
    run++;
    place_count = value_count = knowledge_count = 1; /* index 0 means none */
}

void memory_model_learn(bool on)
{
    if (on)
        memset(users, 0, sizeof users);
    learning = on;
}

bool memory_model_learnt(void)
{
    return learnt_count != 0;
}

bool memory_model_learnt_more(void)
{
    bool more = learnt_count != 0;
    for (; learnt_count != 0; learnt_count--) {
        users[learnt[learnt_count - 1].offset].all |= learnt[learnt_count - 1].users.all;
        users[learnt[learnt_count - 1].offset].writing |= learnt[learnt_count - 1].users.writing;
    }
    return more;
}

static bool shared(struct users u)
{
    return (u.all & (u.all - 1)) != 0 && u.writing != 0;
}

/* Another user of a place. Where that makes a difference it counts from the next search on: a search is of one piece. */
static bool learn(size_t offset, bool writes)
{
    struct users *known_users = &users[offset], more = *known_users;
    bool before = shared(more);
    more.all |= (uint8_t)(1u << model_self());
    if (writes)
        more.writing |= (uint8_t)(1u << model_self());
    if (learning || shared(more) == before)
        *known_users = more;
    else if (learnt_count < sizeof learnt / sizeof *learnt) {
        learnt[learnt_count].offset = (uint32_t)offset;
        learnt[learnt_count++].users = more;
    }
    return before || learning;
}

/* ------------------------------------------------------------------------------------------------------- the past -- */

uint64_t memory_model_past(unsigned thread)
{
    return past[thread];
}

uint64_t memory_model_values_read(unsigned thread)
{
    return values_read[thread];
}

uint64_t memory_model_freed_blocks(void)
{
    return freed_blocks;
}

void model_at(uint64_t where)
{
    values_read[model_self()] = model_mix(where, 1);
}

static void has_read(uint64_t value)
{
    uint64_t *mine = &values_read[model_self()];
    *mine = model_mix(*mine, value);
}

static void in_order(unsigned which)
{
    uint64_t *mine = &past[model_self()];
    has_read(3);
    *mine = orders[which] = model_mix(*mine, orders[which]);
}

void memory_model_touched(const void *place)
{
    in_order(1 + (unsigned)((uintptr_t)place >> 2) % 63);
    model_done(place, true);
}

static void remember(const void *address, uint64_t event)
{
    uint64_t *mine = &past[model_self()];
    *mine = model_mix(*mine, model_mix((uintptr_t)address, event));
}

void memory_model_yielded(void)
{
    past[model_self()] = model_mix(past[model_self()], 1);
    has_read(1);
}

void memory_model_looks(void)
{
    looks[model_self()].count = 0;
    looks[model_self()].too_many = false;
}

static const struct value *newest_of(unsigned place)
{
    return &values[places[place].by_number[(places[place].count - 1) % 64]];
}

bool memory_model_changed(unsigned thread)
{
    const struct looks *l = &looks[thread];
    bool changed = l->too_many;
    for (unsigned i = 0; i < l->count && !changed; i++)
        changed = newest_of(l->place[i])->value != l->value[i];
    return changed;
}

static void looked_at(unsigned place, uint64_t value)
{
    struct looks *l = &looks[model_self()];
    unsigned i = 0;
    while (i < l->count && l->place[i] != place)
        i++;
    if (i == sizeof l->place / sizeof *l->place) {
        l->too_many = true;
        return;
    }
    l->place[i] = (uint16_t)place;
    l->value[i] = value;
    if (i == l->count)
        l->count++;
}

/* ---------------------------------------------------------------------------------------------------- knowledge -- */

static void join(struct knowledge *to, const struct knowledge *from)
{
    for (unsigned t = 0; t < THREADS; t++)
        if (from->clock[t] > to->clock[t])
            to->clock[t] = from->clock[t];
    for (unsigned p = 1; p < place_count; p++)
        if (from->oldest[p] > to->oldest[p])
            to->oldest[p] = from->oldest[p];
}

static void copy(struct knowledge *to, const struct knowledge *from)
{
    memcpy(to->clock, from->clock, sizeof to->clock);
    memcpy(to->oldest, from->oldest, place_count * sizeof to->oldest[0]);
}

static unsigned keep_knowledge(const struct knowledge *k)
{
    if (knowledge_count == KNOWLEDGES)
        model_fail("the model is too small: KNOWLEDGES");
    struct knowledge *fresh = &knowledges[knowledge_count];
    memset(fresh->oldest, 0, sizeof fresh->oldest); /* places may be added later */
    copy(fresh, k);
    return knowledge_count++;
}

void memory_model_start(unsigned thread, unsigned by)
{
    join(&known[thread], &known[by]);
    known[by].clock[by]++;
}

void memory_model_join(unsigned thread, unsigned by)
{
    memory_model_start(by, thread);
}

/* -------------------------------------------------------------------------------------------------- plain memory -- */

static struct cell *cell_at(const void *place)
{
    struct cell *cell = &cells[platform_offset(place)];
    if (cell->run != run) {
        memset(cell, 0, sizeof *cell);
        cell->run = run;
    }
    return cell;
}

void memory_model_allocated(const void *memory, size_t size)
{
    unsigned self = model_self();
    in_order(0); /* its address depends on what was allocated before */
    has_read((uintptr_t)memory);
    for (size_t i = 0; i < size && !model_alone();
         i++) { /* what was there before the threads is known to all of them */
        struct cell *cell = cell_at((const char *)memory + i);
        memset(cell, 0, sizeof *cell);
        cell->run = run;
        cell->written_by = (uint8_t)self;
        cell->written_at = known[self].clock[self];
    }
}

static void plain_access(const void *memory, size_t size, bool write);

void memory_model_freed(const void *memory, size_t size)
{
    plain_access(memory, size, true); /* whoever frees it must come after everybody's use */
    freed_blocks += model_mix((uintptr_t)memory, size);
    for (size_t i = 0; i < size; i++) {
        struct cell *cell = cell_at((const char *)memory + i);
        cell->freed = true;
        for (unsigned t = 0; t < THREADS && !model_alone(); t++)
            if (t != model_self() && cell->used_at[t] > known[model_self()].clock[t])
                model_fail("a race: thread %u frees offset %zu, which thread %u has used", model_self(),
                           platform_offset(memory) + i, t);
    }
}

static void check_freed(const struct cell *cell, const void *place)
{
    if (cell->freed)
        model_fail("memory used after it was freed: offset %zu", platform_offset(place));
}

static unsigned index_of(const struct place *place)
{
    return (unsigned)(place - places);
}

static struct place *find_place(const void *address, bool make);

static void plain_byte(const void *place, bool write)
{
    unsigned self = model_self();
    struct cell *cell = cell_at(place);
    const uint32_t *clock = known[self].clock;
    check_freed(cell, place);
    if (cell->written_by != self && cell->written_at > clock[cell->written_by])
        model_fail("a race: thread %u %s offset %zu, which thread %u has written", self, write ? "writes" : "reads",
                   platform_offset(place), cell->written_by);
    if (!write) {
        cell->read_at[self] = clock[self];
        return;
    }
    for (unsigned t = 0; t < THREADS; t++)
        if (t != self && cell->read_at[t] > clock[t])
            model_fail("a race: thread %u writes offset %zu, which thread %u has read", self, platform_offset(place),
                       t);
    cell->written_by = (uint8_t)self;
    cell->written_at = clock[self];
}

static void plain_access(const void *memory, size_t size, bool write)
{
    if (!platform_owns(memory) || model_alone())
        return;
    for (size_t i = 0; i < size; i++)
        plain_byte((const char *)memory + i, write);
    for (size_t i = 0; i < size && !write; i++)
        has_read(((const unsigned char *)memory)[i]);
}

/* A plain write to what was atomic before: memory is set up again. It is written right after this call. */
static void forget_places(const void *memory, size_t size)
{
    for (size_t i = 0; i < size && platform_owns(memory); i++) {
        struct place *place = find_place((const char *)memory + i, false);
        if (place == NULL)
            continue;
        place->set_up_again = true;
        known[model_self()].oldest[index_of(place)] = (uint16_t)place->count; /* the number it is going to have */
    }
}

/* ------------------------------------------------------------------------------------------------------- places -- */

static struct place *find_place(const void *address, bool make)
{
    uintptr_t key = (uintptr_t)address;
    unsigned slots = PLACES * 4, slot = (unsigned)((key >> 2) * 2654435761u) % slots;
    for (; slot_run[slot] == run; slot = (slot + 1) % slots)
        if (places[place_of_slot[slot]].address == key)
            return &places[place_of_slot[slot]];
    if (!make)
        return NULL;
    if (place_count == PLACES)
        model_fail("the model is too small: PLACES");
    slot_run[slot] = run;
    place_of_slot[slot] = (uint16_t)place_count;
    struct place *place = &places[place_count];
    for (unsigned t = 0; t < THREADS; t++)
        known[t].oldest[place_count] = 0;
    place_count++;
    memset(place, 0, sizeof *place);
    place->address = key;
    return place;
}

static uint64_t read_memory(const void *address, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, address, size);
    return value;
}

static void append(struct place *place, uint64_t value, unsigned knowledge, uint64_t event)
{
    if (value_count == VALUES || place->count == UINT16_MAX)
        model_fail("the model is too small: VALUES");
    values[value_count] = (struct value){value, event, knowledge};
    place->by_number[place->count % 64] = value_count++;
    place->count++;
}

static struct place *place_for(const void *address, size_t size)
{
    struct place *place = find_place(address, true);
    if (place->count == 0 || place->set_up_again) {
        uint64_t value = read_memory(address, size);
        append(place, value, 0, model_mix((uintptr_t)address, value));
        place->set_up_again = false;
    }
    return place;
}

static bool acquires(int order)
{
    return order == memory_order_acquire || order == memory_order_acq_rel || order == memory_order_seq_cst ||
           order == memory_order_consume;
}

static bool releases(int order)
{
    return order == memory_order_release || order == memory_order_acq_rel || order == memory_order_seq_cst;
}

/* Before every atomic operation: the place must be there, and others may come first. */
static struct place *begin(const char *operation, const void *address, size_t size)
{
    bool others = true, writes = *operation != 'l';
    if (platform_owns(address) && !model_alone())
        others = learn(platform_offset(address), writes);
    model_point(operation, address, writes, others);
    model_done(address, writes);
    if (platform_owns(address)) {
        check_freed(cell_at(address), address);
        cell_at(address)->used_at[model_self()] = known[model_self()].clock[model_self()];
    }
    return place_for(address, size);
}

static void see(struct place *place, unsigned number, int order)
{
    struct knowledge *me = &known[model_self()];
    uint32_t knowledge = values[place->by_number[number % 64]].knowledge;
    if (me->oldest[index_of(place)] < number)
        me->oldest[index_of(place)] = (uint16_t)number;
    if (acquires(order) && knowledge != 0)
        join(me, &knowledges[knowledge]);
    looked_at(index_of(place), values[place->by_number[number % 64]].value);
    remember((const void *)place->address, values[place->by_number[number % 64]].event);
    has_read(values[place->by_number[number % 64]].value);
}

static uint64_t load(const void *address, size_t size, int order)
{
    struct place *place = begin("load", address, size);
    unsigned newest = place->count - 1, oldest = known[model_self()].oldest[index_of(place)];
    if (order == memory_order_seq_cst && place->last_sequential > oldest)
        oldest = place->last_sequential;
    if (newest - oldest > OLDEST)
        oldest = newest - OLDEST;
    unsigned number = newest - model_choose(newest - oldest + 1);
    see(place, number, order);
    return values[place->by_number[number % 64]].value;
}

static void put(struct place *place, void *address, size_t size, uint64_t value, int order, unsigned inherited)
{
    unsigned self = model_self();
    struct knowledge *me = &known[self];
    me->oldest[index_of(place)] = (uint16_t)place->count;
    unsigned knowledge = inherited;
    if (releases(order)) {
        knowledge = keep_knowledge(me);
        if (inherited != 0)
            join(&knowledges[knowledge], &knowledges[inherited]);
        me->clock[self]++;
    }
    uint64_t before = values[place->by_number[(place->count - 1) % 64]].event;
    remember((const void *)place->address, model_mix(before, 1));
    has_read(2); /* it has come further, whatever was there */
    append(place, value, knowledge, past[self]);
    if (order == memory_order_seq_cst)
        place->last_sequential = (uint16_t)(place->count - 1);
    memcpy(address, &value, size);
}

static void store(void *address, size_t size, uint64_t value, int order)
{
    put(begin("store", address, size), address, size, value, order, 0);
}

enum operation { EXCHANGE, ADD, SUBTRACT, AND, OR, XOR };

static uint64_t computed(enum operation operation, uint64_t value, uint64_t operand)
{
    switch (operation) {
    case ADD: return value + operand;
    case SUBTRACT: return value - operand;
    case AND: return value & operand;
    case OR: return value | operand;
    case XOR: return value ^ operand;
    default: return operand;
    }
}

static uint64_t change(void *address, size_t size, enum operation operation, uint64_t operand, int order)
{
    struct place *place = begin("change", address, size);
    unsigned number = place->count - 1;
    struct value *newest = &values[place->by_number[number % 64]];
    uint64_t before = newest->value;
    unsigned inherited = newest->knowledge; /* a release sequence goes on */
    see(place, number, order);
    put(place, address, size, computed(operation, before, operand), order, inherited);
    looked_at(index_of(place), newest_of(index_of(place))->value);
    return before;
}

static bool compare_exchange(void *address, void *expected, size_t size, uint64_t desired, int good, int bad)
{
    struct place *place = begin("compare", address, size);
    unsigned number = place->count - 1;
    struct value *newest = &values[place->by_number[number % 64]];
    unsigned inherited = newest->knowledge;
    uint64_t wanted = read_memory(expected, size);
    if (newest->value != wanted) {
        see(place, number, bad);
        memcpy(expected, &newest->value, size);
        return false;
    }
    see(place, number, good);
    put(place, address, size, desired, good, inherited);
    looked_at(index_of(place), newest_of(index_of(place))->value);
    return true;
}

bool memory_model_equals(const void *address, uint32_t value)
{
    struct place *place = place_for(address, sizeof value);
    struct value *newest = &values[place->by_number[(place->count - 1) % 64]];
    remember(address, newest->event);
    has_read(newest->value);
    return (uint32_t)newest->value == value;
}

uint32_t memory_model_exchange(void *place, uint32_t value)
{
    return (uint32_t)change(place, sizeof value, EXCHANGE, value, memory_order_acq_rel);
}

/* ------------------------------------------------------------------------------------- what the compiler calls -- */

#define ATOMICS(bits)                                                                                                  \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile void *a, int order);                                      \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile void *a, int order)                                       \
    {                                                                                                                  \
        return (uint##bits##_t)load((const void *)a, bits / 8, order);                                                 \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile void *a, uint##bits##_t v, int order);                                   \
    void __tsan_atomic##bits##_store(volatile void *a, uint##bits##_t v, int order)                                    \
    {                                                                                                                  \
        store((void *)a, bits / 8, v, order);                                                                          \
    }                                                                                                                  \
    CHANGE(bits, exchange, EXCHANGE)                                                                                   \
    CHANGE(bits, fetch_add, ADD)                                                                                       \
    CHANGE(bits, fetch_sub, SUBTRACT)                                                                                  \
    CHANGE(bits, fetch_and, AND)                                                                                       \
    CHANGE(bits, fetch_or, OR)                                                                                         \
    CHANGE(bits, fetch_xor, XOR)                                                                                       \
    COMPARE(bits, strong)                                                                                              \
    COMPARE(bits, weak)                                                                                                \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(volatile void *a, uint##bits##_t e, uint##bits##_t v,    \
                                                              int good, int bad);                                      \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(volatile void *a, uint##bits##_t e, uint##bits##_t v,    \
                                                              int good, int bad)                                       \
    {                                                                                                                  \
        compare_exchange((void *)a, &e, bits / 8, v, good, bad);                                                       \
        return e;                                                                                                      \
    }
#define CHANGE(bits, name, operation)                                                                                  \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile void *a, uint##bits##_t v, int order);                        \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile void *a, uint##bits##_t v, int order)                         \
    {                                                                                                                  \
        return (uint##bits##_t)change((void *)a, bits / 8, operation, v, order);                                       \
    }
#define COMPARE(bits, strength)                                                                                        \
    int __tsan_atomic##bits##_compare_exchange_##strength(volatile void *a, void *e, uint##bits##_t v, int good,       \
                                                          int bad);                                                    \
    int __tsan_atomic##bits##_compare_exchange_##strength(volatile void *a, void *e, uint##bits##_t v, int good,       \
                                                          int bad)                                                     \
    {                                                                                                                  \
        return compare_exchange((void *)a, e, bits / 8, v, good, bad);                                                 \
    }
ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

#define PLAIN(name, size)                                                                                              \
    void __tsan_read##name(void *a);                                                                                   \
    void __tsan_read##name(void *a)                                                                                    \
    {                                                                                                                  \
        plain_access(a, size, false);                                                                                  \
    }                                                                                                                  \
    void __tsan_write##name(void *a);                                                                                  \
    void __tsan_write##name(void *a)                                                                                   \
    {                                                                                                                  \
        plain_access(a, size, true);                                                                                   \
        forget_places(a, size);                                                                                        \
    }                                                                                                                  \
    void __tsan_unaligned_read##name(void *a);                                                                         \
    void __tsan_unaligned_read##name(void *a)                                                                          \
    {                                                                                                                  \
        plain_access(a, size, false);                                                                                  \
    }                                                                                                                  \
    void __tsan_unaligned_write##name(void *a);                                                                        \
    void __tsan_unaligned_write##name(void *a)                                                                         \
    {                                                                                                                  \
        plain_access(a, size, true);                                                                                   \
        forget_places(a, size);                                                                                        \
    }                                                                                                                  \
    void __tsan_read_write##name(void *a);                                                                             \
    void __tsan_read_write##name(void *a)                                                                              \
    {                                                                                                                  \
        plain_access(a, size, true);                                                                                   \
        forget_places(a, size);                                                                                        \
    }                                                                                                                  \
    void __tsan_unaligned_read_write##name(void *a);                                                                   \
    void __tsan_unaligned_read_write##name(void *a)                                                                    \
    {                                                                                                                  \
        plain_access(a, size, true);                                                                                   \
        forget_places(a, size);                                                                                        \
    }
PLAIN(1, 1)
PLAIN(2, 2)
PLAIN(4, 4)
PLAIN(8, 8)
PLAIN(16, 16)

void __tsan_init(void);
void __tsan_init(void)
{
}
void __tsan_func_entry(void *a);
void __tsan_func_entry(void *a)
{
    (void)a;
}
void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

/* memcpy and its like, as the library's files call them here. */
void *model_memcpy(void *to, const void *from, size_t size);
void *model_memcpy(void *to, const void *from, size_t size)
{
    plain_access(from, size, false);
    plain_access(to, size, true);
    forget_places(to, size);
    return memcpy(to, from, size);
}
void *model_memset(void *to, int value, size_t size);
void *model_memset(void *to, int value, size_t size)
{
    plain_access(to, size, true);
    forget_places(to, size);
    return memset(to, value, size);
}
int model_memcmp(const void *a, const void *b, size_t size);
int model_memcmp(const void *a, const void *b, size_t size)
{
    plain_access(a, size, false);
    plain_access(b, size, false);
    return memcmp(a, b, size);
}

/* A mutex is a word: 1 while somebody has it. */
int model_pthread_mutex_init(void *mutex, const void *attributes);
int model_pthread_mutex_init(void *mutex, const void *attributes)
{
    (void)attributes;
    store(mutex, 4, 0, memory_order_relaxed);
    return 0;
}
int model_pthread_mutex_destroy(void *mutex);
int model_pthread_mutex_destroy(void *mutex)
{
    (void)mutex;
    return 0;
}
int model_pthread_mutex_lock(void *mutex);
int model_pthread_mutex_lock(void *mutex)
{
    while (change(mutex, 4, EXCHANGE, 1, memory_order_acquire) != 0)
        model_yield();
    return 0;
}
int model_pthread_mutex_unlock(void *mutex);
int model_pthread_mutex_unlock(void *mutex)
{
    store(mutex, 4, 0, memory_order_release);
    return 0;
}
