/* Gives a target every file of the folders named, once, without libFuzzer: what once was found stays found, with any
 * compiler and sanitizer. */
#define _POSIX_C_SOURCE 200809L
#include "fuzz.h"

#include <dirent.h>

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL, "%s cannot be read", path);
    size_t room = (size_t)1 << 20;
    char *buffer = malloc(room);
    CHECK(buffer != NULL, "out of memory");
    size_t size = fread(buffer, 1, room, file);
    CHECK(size < room, "%s is too large", path);
    fclose(file);
    char *exact = input_copy(buffer, size);
    free(buffer);
    fprintf(stderr, "%s\n", path); /* the last one named is the one that failed */
    LLVMFuzzerTestOneInput((const uint8_t *)exact, size);
    free(exact);
}

static unsigned replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    CHECK(dir != NULL, "%s cannot be read", folder);
    unsigned count = 0;
    char path[4096];
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        replay_file(path);
        count++;
    }
    closedir(dir);
    return count;
}

int main(int count, char **words)
{
    unsigned files = 0;
    for (int i = 1; i < count; i++)
        files += replay_folder(words[i]);
    printf("%u inputs\n", files);
    return files == 0; /* a corpus that is not there proves nothing */
}
