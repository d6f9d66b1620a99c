/* The suite on the backend of docs/examples/custom_backend.c, where every connection is a broker of its own. */
#include <broadcaster/backend.h>
#include <broadcaster/conformance.h>

extern const struct bcast_backend loop_backend;

int main(int argc, char **argv)
{
    const struct bcast_backend *mine[] = {&loop_backend, NULL};
    struct bcast_conformance conformance = bcast_conformance_init();
    conformance.url = "loop://";
    conformance.backends = mine;
    conformance.isolated = 1;
    return bcast_conformance_main(argc, argv, &conformance);
}
