/* The same in C++. */
#include <broadcaster/broadcaster.hpp>

#include <iostream>

int main()
{
    broadcaster::broadcast b("memory://");
    auto sub = b.subscribe("version");
    b.publish("version", bcast_version());
    for (auto &message : sub.messages(broadcaster::ignore_gaps)) {
        std::cout << message.data() << '\n';
        break;
    }
}
