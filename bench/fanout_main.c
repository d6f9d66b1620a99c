#include "fanout.h"

int main(int count, char **words)
{
    return fanout_main(count, words);
}
