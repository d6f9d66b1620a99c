/* Sends a text, line by line, to three worker threads, each with a blocking iterator of its own.
 *     quickstart [FILE [URL]]
 */
#include <broadcaster/broadcaster.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const char text[] = "A server has many threads, and each of them\n"
                           "wants to hear everything, in order, now.\n"
                           "One publishes. All receive. Nobody waits for the slowest,\n"
                           "and what was missed is never missed in silence.\n";

struct worker {
    int number;
    struct bcast_sub *sub;
    pthread_t thread;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct bcast_event event = BCAST_EVENT_INIT;
    int status;
    bcast_foreach(worker->sub, &event, status)
    {
        if (event.kind == BCAST_GAP) {
            printf("worker %d missed %llu lines\n", worker->number, (unsigned long long)event.lost);
            continue;
        }
        if (event.size == 0)
            break; /* the empty message is this program's way to say "that was all" */
        printf("worker %d: %.*s\n", worker->number, (int)event.size, (const char *)event.data);
    }
    bcast_release(&event);
    return NULL;
}

static int publish_lines(struct bcast *b, FILE *file)
{
    char line[4096];
    while (fgets(line, sizeof line, file) != NULL) {
        size_t size = strcspn(line, "\n");
        if (size != 0 && bcast_publish(b, "lines", line, size) != BCAST_OK)
            return -1;
    }
    return bcast_publish(b, "lines", NULL, 0);
}

int main(int count, char **words)
{
    struct bcast *b;
    struct worker workers[3];
    FILE *file = count > 1 ? fopen(words[1], "r") : fmemopen((void *)text, sizeof text - 1, "r");
    if (file == NULL) {
        perror(words[1]);
        return 1;
    }
    if (bcast_open(count > 2 ? words[2] : "memory://", NULL, &b) != BCAST_OK) {
        fprintf(stderr, "%s\n", bcast_error_text());
        return 1;
    }
    for (int i = 0; i < 3; i++) {
        workers[i].number = i + 1;
        if (bcast_subscribe(b, "lines", NULL, &workers[i].sub) != BCAST_OK) {
            fprintf(stderr, "%s\n", bcast_error_text());
            return 1;
        }
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    int status = publish_lines(b, file);
    if (status != BCAST_OK)
        fprintf(stderr, "%s\n", bcast_error_text());
    for (int i = 0; i < 3; i++) {
        pthread_join(workers[i].thread, NULL);
        bcast_unsubscribe(workers[i].sub);
    }
    bcast_close(b);
    fclose(file);
    return status != BCAST_OK;
}
