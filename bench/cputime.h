/* What the library's own threads cost: looks them up by name where the system tells (Linux), otherwise 0. */
#ifndef BENCH_CPUTIME_H
#define BENCH_CPUTIME_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline int cputime_reads(const char *thread, const char *file, char *text, int size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%.20s/%s", thread, file);
    FILE *stream = fopen(path, "r");
    int read = stream != NULL && fgets(text, size, stream) != NULL;
    if (stream != NULL)
        fclose(stream);
    return read;
}

/* The newest thread of this process with that name; 0: none. */
static inline long cputime_thread(const char *name)
{
    char comm[32];
    long newest = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;)
        if (cputime_reads(task->d_name, "comm", comm, sizeof comm) && strncmp(comm, name, strlen(name)) == 0 &&
            atol(task->d_name) > newest)
            newest = atol(task->d_name);
    if (tasks != NULL)
        closedir(tasks);
    return newest;
}

static inline uint64_t cputime_ns(long thread)
{
    char id[24], text[64] = "";
    snprintf(id, sizeof id, "%ld", thread);
    return thread != 0 && cputime_reads(id, "schedstat", text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

#endif
