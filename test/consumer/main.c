/* A program that uses an installed broadcaster: says which one. */
#include <broadcaster/broadcaster.h>

#include <stdio.h>

int main(void)
{
    struct bcast *b;
    if (bcast_open("memory://", NULL, &b) != BCAST_OK)
        return 1;
    bcast_close(b);
    puts(bcast_version());
    return 0;
}
