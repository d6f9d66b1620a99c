/* Compiled only, with -fno-exceptions: every call can be made with a std::error_code. */
#include <broadcaster/broadcaster.hpp>

#include <array>

int use(int argument);

int use(int argument)
{
    std::error_code code;
    broadcaster::broadcast b("memory://?history=10", {}, code);
    broadcaster::channel channel = b.channel("x", code);
    broadcaster::subscription sub = b.subscribe("x", {}, code);
    broadcaster::subscription many = b.subscribe_many({"x", "y"}, {}, code);
    broadcaster::message message;
    broadcaster::event event;
    std::array<broadcaster::event, 4> events;
    b.publish("x", "data", code);
    b.publish("x", message, code);
    channel.publish("data", code);
    channel.publish(message, code);
    b.flush(broadcaster::forever, code);
    sub.add_channel("y", code);
    sub.remove_channel("y", code);
    if (sub.next(event, broadcaster::nowait, code))
        event.keep(code);
    argument += static_cast<int>(sub.next_batch(events, std::chrono::milliseconds(1), code)) + sub.fd(code);
    for (broadcaster::event &each : sub.messages(broadcaster::ignore_gaps, code))
        argument += static_cast<int>(each.data().size());
    for (const broadcaster::event &each : b.history("x", {}, code))
        argument += each.visit([](auto &) { return 1; }, [](const broadcaster::gap &) { return 0; });
    argument += static_cast<int>(b.stats(code).published + sub.stats(code).lost + sub.position(code).size());
    return argument + static_cast<int>(b.capabilities(code).can);
}
