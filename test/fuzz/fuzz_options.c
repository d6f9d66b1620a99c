/* Sized structs of any size and content, as a program compiled with an older or newer header, or one that did not use the
 * _init functions, would hand them over: each call answers with a status, and keeps nothing when it fails. */
#include "fuzz.h"

/* A struct of `known` bytes: as many bytes of memory as it says it has, filled with the input. Pointers that are not
 * whole, and all others, become NULL: a wild one would be the program's own fault. */
static void *take_struct(struct input *in, size_t known, const size_t *pointers, size_t count)
{
    size_t size = input_below(in, 8) != 0 ? sizeof(size_t) + input_byte(in) % (known + 64) : input_number(in, 3);
    size_t bytes = size < sizeof size ? sizeof size : size <= 65536 ? size : known;
    unsigned char *memory = malloc(bytes);
    CHECK(memory != NULL, "out of memory");
    bool zeroes = input_below(in, 2) != 0; /* else most would fail at their first member */
    for (size_t i = 0; i < bytes; i++)
        memory[i] = zeroes && input_below(in, 4) != 0 ? 0 : input_byte(in);
    memcpy(memory, &size, sizeof size);
    for (size_t i = 0; i < count; i++)
        for (size_t j = pointers[i]; j < bytes && j < pointers[i] + sizeof(void *); j++)
            memory[j] = 0;
    return memory;
}

/* Does the struct have that member, so that something may be put there? */
static bool has(const void *structure, size_t offset, size_t size)
{
    size_t given = *(const size_t *)structure;
    return given <= 65536 && given >= offset + size;
}
#define HAS(structure, member)                                                                                         \
    has(structure, (size_t)((char *)&(structure)->member - (char *)(structure)), sizeof(structure)->member)

static void check_status(int status)
{
    CHECK(status >= BCAST_ERR_BACKEND && status <= BCAST_TIMEOUT, "status %d", status);
    CHECK(status >= 0 || *bcast_error_text() != '\0', "status %d, and nothing is said", status);
}

/* ----------------------------------------------------------------------------------------------------------- calls -- */

static struct bcast *open_one(struct input *in, const char *url)
{
    static const size_t pointers[] = {
        offsetof(struct bcast_options, backends),      offsetof(struct bcast_options, on_log),
        offsetof(struct bcast_options, log_context),   offsetof(struct bcast_options, on_state),
        offsetof(struct bcast_options, state_context), offsetof(struct bcast_options, thread_cpus),
    };
    static const struct bcast_backend *const none[] = {NULL};
    struct bcast_options *options = take_struct(in, sizeof *options, pointers, sizeof pointers / sizeof *pointers);
    struct bcast *b = NULL;
    if (HAS(options, backends) && input_below(in, 2))
        options->backends = none;
    int status = bcast_open(url, input_below(in, 8) != 0 ? options : NULL, &b);
    check_status(status);
    CHECK((status == BCAST_OK) == (b != NULL), "status %d", status);
    free(options);
    if (b == NULL)
        CHECK(bcast_open(url, NULL, &b) == BCAST_OK, "open");
    return b;
}

static void publish_one(struct input *in, struct bcast *b)
{
    static const size_t pointers[] = {
        offsetof(struct bcast_message, channel),   offsetof(struct bcast_message, data),
        offsetof(struct bcast_message, key),       offsetof(struct bcast_message, headers),
        offsetof(struct bcast_message, on_result), offsetof(struct bcast_message, context)};
    struct bcast_message *message = take_struct(in, sizeof *message, pointers, sizeof pointers / sizeof *pointers);
    struct bcast_header header = {"name", "value", 5};
    char bytes[64] = "bytes";
    if (HAS(message, channel_size)) {
        message->channel = input_below(in, 8) != 0 ? "c" : NULL;
        message->channel_size = input_below(in, 2);
    }
    if (HAS(message, size) && input_below(in, 2)) { /* else the size that was made up goes with NULL */
        message->data = bytes;
        message->size = input_below(in, sizeof bytes + 1);
    }
    if (HAS(message, key_size) && input_below(in, 2)) {
        message->key = bytes;
        message->key_size = input_below(in, sizeof bytes + 1);
    }
    if (HAS(message, header_count) && input_below(in, 2)) {
        message->headers = &header;
        message->header_count = input_below(in, 2);
    }
    if (HAS(message, timeout_ms) && message->timeout_ms > BCAST_NOWAIT)
        message->timeout_ms = BCAST_NOWAIT; /* nobody would make room meanwhile */
    check_status(bcast_publish_message(b, message));
    free(message);
}

static struct bcast_sub *subscribe_one(struct input *in, struct bcast *b, const char *position)
{
    static const size_t pointers[] = {offsetof(struct bcast_sub_options, resume)};
    struct bcast_sub_options *options = take_struct(in, sizeof *options, pointers, 1);
    struct bcast_sub *sub = NULL;
    char *text = input_text(in, 60);
    if (HAS(options, resume))
        options->resume = (const char *[]){NULL, "", text, position}[input_below(in, 4)];
    int status = bcast_subscribe(b, "c", input_below(in, 8) != 0 ? options : NULL, &sub);
    check_status(status);
    CHECK((status == BCAST_OK) == (sub != NULL), "status %d", status);
    free(options);
    free(text);
    return sub;
}

static void read_history(struct input *in, struct bcast *b, const char *newer)
{
    static const size_t pointers[] = {offsetof(struct bcast_history_query, before),
                                      offsetof(struct bcast_history_query, after),
                                      offsetof(struct bcast_history_query, channel_size)}; /* of what is not ours */
    struct bcast_history_query *query = take_struct(in, sizeof *query, pointers, 3);
    struct bcast_page *page = NULL;
    char *text = input_text(in, 60);
    if (HAS(query, channel_size))
        query->channel_size = input_below(in, 2);
    if (HAS(query, before))
        query->before = (const char *[]){NULL, NULL, text, newer}[input_below(in, 4)];
    if (HAS(query, after))
        query->after = (const char *[]){NULL, "", text, newer}[input_below(in, 4)];
    int status = bcast_history(b, "c", input_below(in, 8) != 0 ? query : NULL, &page);
    check_status(status);
    CHECK((status == BCAST_OK) == (page != NULL), "status %d", status);
    if (page != NULL) {
        CHECK(page->newer != NULL && (page->count == 0 || page->events != NULL), "page");
        for (size_t i = 0; i < page->count; i++)
            CHECK(page->events[i].kind == BCAST_MESSAGE || page->events[i].kind == BCAST_GAP, "event %zu", i);
    }
    bcast_page_free(page);
    free(query);
    free(text);
}

/* Results: nothing is written behind the size they say they have, which AddressSanitizer sees. */
static void ask(struct input *in, struct bcast *b, struct bcast_sub *sub)
{
    void *answer = take_struct(in, sizeof(struct bcast_stats), NULL, 0);
    size_t before = *(size_t *)answer;
    switch (input_below(in, 4)) {
    case 0: check_status(bcast_capabilities(b, answer)); break;
    case 1: check_status(bcast_stats(b, answer)); break;
    case 2: check_status(bcast_sub_stats(sub, answer)); break;
    default: check_status(bcast_backend_info(input_below(in, 3), answer));
    }
    CHECK(*(size_t *)answer == before, "its size has changed");
    free(answer);
}

static void drain(struct bcast_sub *sub)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    for (int i = 0; i < 100 && sub != NULL && bcast_next(sub, &event, 0) == BCAST_OK; i++)
        ;
    bcast_release(&event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    char position[200] = "";
    bool kept = input_below(&in, 2) != 0;
    struct bcast *b = open_one(&in, kept ? "memory://?history=4" : "memory://");
    struct bcast_sub *sub = NULL;
    for (int i = 0; i < 12 && in.at < in.end; i++)
        switch (input_below(&in, 5)) {
        case 0: publish_one(&in, b); break;
        case 1:
            bcast_unsubscribe(sub);
            sub = subscribe_one(&in, b, position);
            break;
        case 2:
            if (sub != NULL && bcast_position(sub, position, sizeof position, NULL) != BCAST_OK)
                position[0] = '\0';
            read_history(&in, b, strrchr(position, '=') != NULL ? strrchr(position, '=') + 1 : position);
            break;
        case 3: drain(sub); break;
        default: ask(&in, b, sub);
        }
    bcast_unsubscribe(sub);
    bcast_close(b);
    return 0;
}
