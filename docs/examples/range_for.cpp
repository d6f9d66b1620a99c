/* Sends its arguments to a thread that prints them: one range-for, ended by cancel().
 *     range_for [TEXT...]
 */
#include <broadcaster/broadcaster.hpp>

#include <future>
#include <iostream>
#include <thread>

/* Prints what comes, until somebody cancels the subscription. */
static void print(broadcaster::subscription &sub, std::promise<void> &farewell)
{
    auto missed = [](const broadcaster::gap &gap) { std::cout << gap.lost << " messages missed\n"; };
    for (auto &message : sub.messages(missed)) {
        std::cout << message.header("from").value_or("somebody") << ": " << message.data() << '\n';
        if (message.data() == "bye")
            farewell.set_value();
    }
    std::cout << "cancelled\n";
}

int main(int count, char **words)
try {
    broadcaster::broadcast b("memory://");
    broadcaster::subscription sub = b.subscribe("words");
    std::promise<void> farewell;
    std::thread printer([&] { print(sub, farewell); });

    broadcaster::message message;
    message.headers = {{"from", "main"}};
    for (int i = 1; i < count; i++) {
        message.data = words[i];
        b.publish("words", message);
    }
    b.publish("words", "bye");

    farewell.get_future().wait();
    sub.cancel();
    printer.join();
} catch (const broadcaster::error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
