/* Several threads share one subscription and split its messages: each is handled once, by whoever is free.
 *     worker_pool [JOBS [URL]]
 */
#include <broadcaster/broadcaster.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define WORKERS 4

static void *work(void *argument)
{
    struct bcast_sub *jobs = argument;
    struct bcast_event event = BCAST_EVENT_INIT;
    int status;
    bcast_foreach(jobs, &event, status)
    {
        if (event.size == 0)
            break; /* the empty message sends one worker home */
        printf("done: %.*s\n", (int)event.size, (const char *)event.data);
    }
    if (status != BCAST_OK && status != BCAST_ERR_CLOSED)
        fprintf(stderr, "%s\n", bcast_error_text());
    bcast_release(&event);
    return NULL;
}

static int publish_jobs(struct bcast *b, int count)
{
    char job[32];
    int status = BCAST_OK;
    for (int i = 1; i <= count && status == BCAST_OK; i++)
        status = bcast_publish(b, "jobs", job, (size_t)snprintf(job, sizeof job, "job %d", i));
    for (int i = 0; i < WORKERS && status == BCAST_OK; i++)
        status = bcast_publish(b, "jobs", NULL, 0);
    return status;
}

int main(int count, char **words)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    struct bcast *b;
    struct bcast_sub *jobs;
    pthread_t workers[WORKERS];
    options.shared = 1;
    options.policy = BCAST_BLOCK; /* no job may be dropped: who publishes faster than we work has to wait */
    if (bcast_open(count > 2 ? words[2] : "memory://", NULL, &b) != BCAST_OK ||
        bcast_subscribe(b, "jobs", &options, &jobs) != BCAST_OK) {
        fprintf(stderr, "%s\n", bcast_error_text());
        return 1;
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_create(&workers[i], NULL, work, jobs);
    int status = publish_jobs(b, count > 1 ? atoi(words[1]) : 10);
    if (status != BCAST_OK) {
        fprintf(stderr, "%s\n", bcast_error_text());
        bcast_cancel(jobs); /* nobody will send the workers home */
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    bcast_unsubscribe(jobs);
    bcast_close(b);
    return status != BCAST_OK;
}
