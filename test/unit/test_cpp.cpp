/* broadcaster.hpp: that each class owns what it should, and says what C said. What the library does is tested in C. */
#include <broadcaster/broadcaster.hpp>

#include <broadcaster/backend.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#include <cmocka.h>
}

#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <poll.h>
#include <thread>

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using broadcaster::broadcast, broadcaster::event, broadcaster::forever, broadcaster::gap, broadcaster::nowait,
    broadcaster::subscription, broadcaster::timeout;

/* A test is a function without arguments; an exception that leaves it fails it. */
template <void (*Test)()> static void run(void **)
{
    std::string what;
    try {
        Test();
        return;
    } catch (const std::exception &e) {
        what = e.what();
    }
    fail_msg("exception: %s", what.c_str());
}

/* The call throws a broadcaster::error with this code. */
template <class Call> static void throws(bcast_status status, Call call)
{
    try {
        call();
    } catch (const broadcaster::error &e) {
        assert_string_equal(e.code().message().c_str(), bcast_status_text(status));
        assert_true(e.code() == status);
        return;
    }
    fail_msg("nothing was thrown, not even %s", bcast_status_text(status));
}

template <class Call> static void misused(Call call)
{
    try {
        call();
    } catch (const std::logic_error &) {
        return;
    }
    fail_msg("the mistake went unnoticed");
}

static void same(std::string_view got, std::string_view wanted)
{
    if (got != wanted)
        fail_msg("'%s', not '%s'", std::string(got).c_str(), std::string(wanted).c_str());
}

static void expect(subscription &sub, event &e, std::string_view text)
{
    assert_true(sub.next(e, 20s));
    assert_true(e.is_message());
    same(e.data(), text);
}

static broadcaster::subscribe_options limited(std::size_t messages)
{
    broadcaster::subscribe_options options;
    options.limit_messages = messages;
    return options;
}

/* A subscription that missed some of the messages from 0 to 999: somewhere in it there is a gap. */
static subscription with_gap(broadcast &b)
{
    subscription sub = b.subscribe("x", limited(100));
    for (int i = 0; i < 1000; i++)
        b.publish("x", std::to_string(i));
    return sub;
}

/* ----------------------------------------------------------------------------------------------------- ownership -- */

template <class Owner> constexpr bool owns()
{
    return std::is_nothrow_move_constructible_v<Owner> && std::is_nothrow_move_assignable_v<Owner> &&
           !std::is_copy_constructible_v<Owner> && !std::is_copy_assignable_v<Owner>;
}
static_assert(owns<broadcast>() && owns<broadcaster::channel>() && owns<subscription>() && owns<event>() &&
              owns<broadcaster::page>());

static void handles_move()
{
    broadcast b("memory://"), other;
    assert_true(static_cast<bool>(b));
    assert_false(static_cast<bool>(other));
    bcast *raw = b.get();
    other = std::move(b);
    assert_ptr_equal(other.get(), raw);
    assert_null(b.get());
    throws(BCAST_ERR_INVALID, [&] { b.publish("x", "y"); });

    subscription sub = other.subscribe("x"), second;
    second = std::move(sub);
    broadcaster::channel x = other.channel("x"), y = std::move(x);
    assert_null(x.get());
    y.publish("data");
    event e;
    throws(BCAST_ERR_INVALID, [&] { (void)sub.next(e); });
    expect(second, e, "data");
    assert_int_equal(other.stats().subscriptions, 1);
    second = other.subscribe("x"); /* the first is unsubscribed */
    assert_int_equal(other.stats().subscriptions, 1);
    second = subscription();
    assert_int_equal(other.stats().subscriptions, 0);
}

static void outlive_the_broadcast()
{
    event e;
    {
        subscription sub;
        broadcaster::channel x;
        {
            broadcast b("memory://");
            sub = b.subscribe("x");
            x = b.channel("x");
            x.publish("borrowed");
            expect(sub, e, "borrowed");
        }
        throws(BCAST_ERR_CLOSED, [&] { x.publish("late"); });
        throws(BCAST_ERR_CLOSED, [&] {
            event none;
            (void)sub.next(none);
        });
    }
    same(e.data(), "borrowed");
    same(e.channel(), "x");
}

/* An event that moves takes its borrow along, and the one that is left is as good as new. */
static void events_move()
{
    broadcast b("memory://");
    subscription sub = b.subscribe("x");
    for (int i = 0; i < 1000; i++)
        b.publish("x", std::to_string(i));
    std::vector<event> all;
    event e;
    for (int i = 0; i < 1000; i++) {
        expect(sub, e, std::to_string(i));
        if (i % 3 == 0) {
            all.push_back(std::move(e)); /* and the vector moves them when it grows */
            assert_false(e.is_message());
        } else if (i % 3 == 1) {
            event other(std::move(e));
            e = std::move(other);
        }
    }
    sub = subscription();
    b.close();
    for (std::size_t i = 0; i < all.size(); i++)
        same(all[i].data(), std::to_string(3 * i));
    event &itself = all[7];
    all[7] = std::move(itself);
    same(all[7].data(), "21");
    all[7] = std::move(all[8]); /* what it had is released */
    same(all[7].data(), "24");
    all[7].release();
    all[7].release();
    misused([&] { (void)all[7].data(); });
}

static void kept_events_leave_the_loop()
{
    broadcast b("memory://");
    subscription sub = b.subscribe("x");
    std::string large(300000, 'l');
    std::vector<event> all;
    b.publish("x", "small");
    b.publish("x", large);
    b.publish("x", "end");
    for (event &message : sub.messages(broadcaster::ignore_gaps)) {
        message.keep();
        all.push_back(std::move(message));
        if (all.size() == 3)
            break;
    }
    assert_true(b.stats().kept_bytes >= 300000);
    std::thread([kept = std::move(all), &large] {
        same(kept[0].data(), "small");
        same(kept[1].data(), large);
        same(kept[2].data(), "end");
    }).join();
    assert_int_equal(b.stats().kept_bytes, 0);
}

static void keep_has_a_budget()
{
    broadcaster::options options;
    options.keep_bytes = 1000;
    broadcast b("memory://", options);
    subscription sub = b.subscribe("x");
    b.publish("x", std::string(2000, 'x'));
    event e;
    expect(sub, e, std::string(2000, 'x'));
    throws(BCAST_ERR_LIMIT, [&] { e.keep(); });
    std::error_code code;
    e.keep(code);
    assert_true(code == BCAST_ERR_LIMIT);
    same(e.data(), std::string(2000, 'x'));
    misused([&] { (void)e.gap(); });
}

/* --------------------------------------------------------------------------------------------------------- loops -- */

static void loop_ends_when_cancelled()
{
    broadcast b("memory://");
    subscription sub = b.subscribe("x");
    std::atomic<int> seen = 0;
    std::thread reader([&] {
        for (event &message : sub.messages(broadcaster::ignore_gaps))
            seen += message.data() == "hello";
    });
    b.publish("x", "hello");
    while (seen == 0)
        std::this_thread::yield();
    sub.cancel();
    reader.join();
    assert_int_equal(seen, 1);
    for (event &message : sub.messages(broadcaster::ignore_gaps)) /* it stays closed */
        fail_msg("one more: %s", std::string(message.data()).c_str());
}

static void loop_ends_with_the_broadcast()
{
    broadcast b("memory://");
    subscription sub = b.subscribe("x");
    std::error_code code = BCAST_ERR_NOMEM;
    std::thread reader([&] {
        for (event &message : sub.messages(broadcaster::ignore_gaps, code))
            (void)message;
    });
    b.shutdown();
    reader.join();
    assert_true(!code); /* the end it is meant to have */
}

static void other_ends_are_failures()
{
    broadcaster::subscribe_options options = limited(100);
    options.policy = BCAST_DISCONNECT;
    broadcast b("memory://");
    subscription sub = b.subscribe("x", options), second = b.subscribe("x", options);
    for (int i = 0; i < 1000; i++)
        b.publish("x", "data");
    throws(BCAST_ERR_DISCONNECTED, [&] {
        for (event &message : sub.messages(broadcaster::ignore_gaps))
            (void)message;
    });
    std::error_code code;
    for (event &message : second.messages(broadcaster::ignore_gaps, code))
        (void)message;
    assert_true(code == BCAST_ERR_DISCONNECTED);
}

static void loop_tells_of_gaps()
{
    broadcast b("memory://");
    std::uint64_t told = 0, number = 0;
    subscription sub = with_gap(b);
    for (event &message : sub.messages([&](const gap &gap) {
             same(gap.channel, "x");
             assert_int_equal(gap.reason, BCAST_GAP_OVERFLOW);
             assert_int_equal(gap.count, BCAST_EXACT);
             told += gap.lost;
             number += gap.lost;
             assert_int_equal(gap.sequence, number);
         })) {
        same(message.data(), std::to_string(number));
        assert_int_equal(message.sequence(), number++);
        if (number == 1000)
            sub.cancel();
    }
    assert_int_equal(told, sub.stats().lost);
    assert_true(told > 0);
    assert_int_equal(number, 1000);
}

static void gap_handler_may_throw()
{
    broadcast b("memory://");
    subscription sub = with_gap(b);
    bool thrown = false;
    try {
        for (event &message : sub.messages([](const gap &) { throw std::runtime_error("missed"); }))
            (void)message;
    } catch (const std::runtime_error &e) {
        thrown = e.what() == "missed"s;
    }
    assert_true(thrown);
    event e;
    assert_true(sub.next(e, nowait));
    same(e.data(), std::to_string(e.sequence()));
}

static void visit_wants_both()
{
    broadcast b("memory://");
    subscription sub = with_gap(b);
    event e;
    std::uint64_t total = 0;
    do {
        assert_true(sub.next(e, nowait));
        total += e.is_message();
    } while (!e.is_gap());
    assert_false(e.is_message());
    misused([&] { (void)e.data(); });
    misused([&] { (void)e.key(); });
    misused([&] { (void)e.header("a"); });
    misused([&] { (void)e.headers(); });
    misused([&] { (void)e.timestamp(); });
    misused([&] { (void)e.id(); });
    do
        total += e.visit([](event &message) { return message.data().empty() ? 0 : std::uint64_t(1); },
                         [](const gap &gap) { return gap.lost; });
    while (sub.next(e, nowait));
    assert_int_equal(total, 1000);
}

/* ---------------------------------------------------------------------------------------- failures and time-outs -- */

static void failures_throw_or_are_stored()
{
    throws(BCAST_ERR_SCHEME, [] { broadcast("nosuch://"); });
    std::error_code code;
    broadcast none("nosuch://", {}, code);
    assert_false(static_cast<bool>(none));
    assert_true(code == BCAST_ERR_SCHEME);
    assert_true(code != BCAST_ERR_URL);
    assert_string_equal(code.category().name(), "broadcaster");
    try {
        broadcast("nosuch://");
    } catch (const std::system_error &e) {
        assert_non_null(std::strstr(e.what(), "nosuch")); /* the sentence of bcast_error_text */
    }

    broadcast b("memory://", {}, code);
    assert_true(!code); /* cleared */
    subscription sub = b.subscribe("", {}, code);
    assert_true(code == BCAST_ERR_INVALID);
    assert_false(static_cast<bool>(sub));
    sub = b.subscribe("x", {}, code);
    assert_true(!code && sub);
    sub.add_channel("x", code);
    assert_true(code == BCAST_ERR_EXISTS);
    sub.remove_channel("y", code);
    assert_true(code == BCAST_ERR_NOT_FOUND);
    (void)sub.position(code);
    assert_true(code == BCAST_ERR_UNSUPPORTED);
    (void)b.history("x", {}, code);
    assert_true(code == BCAST_ERR_UNSUPPORTED);
    sub.cancel();
    event e;
    assert_false(sub.next(e, forever, code));
    assert_true(code == BCAST_ERR_CLOSED);
    throws(BCAST_ERR_CLOSED, [&] { (void)sub.next(e); });
    b.shutdown();
    throws(BCAST_ERR_CLOSED, [&] { b.publish("x", "y"); });
    throws(BCAST_ERR_CLOSED, [&] { (void)b.channel("x"); });
    throws(BCAST_ERR_CLOSED, [&] { b.flush(1s); });
    throws(BCAST_ERR_CLOSED, [&] { (void)sub.fd(); });
}

/* Names that are no more than their size, also where that is 0: C would read on to the NUL. */
static void names_are_views()
{
    broadcast b("memory://");
    std::string_view text = "news and more", news = text.substr(0, 4), nothing = text.substr(0, 0);
    subscription sub = b.subscribe(news);
    event e;
    b.publish(news, text.substr(0, 8));
    b.channel(news).publish("more");
    b.publish(news, std::string_view());
    expect(sub, e, "news and");
    same(e.channel(), "news");
    expect(sub, e, "more");
    expect(sub, e, "");
    throws(BCAST_ERR_INVALID, [&] { b.publish(nothing, "data"); });
    throws(BCAST_ERR_INVALID, [&] { (void)b.channel(nothing); });
    throws(BCAST_ERR_INVALID, [&] { (void)b.subscribe(nothing); });
    throws(BCAST_ERR_INVALID, [&] { (void)b.subscribe(std::string_view()); });
    throws(BCAST_ERR_INVALID, [&] { sub.add_channel(nothing); });
    throws(BCAST_ERR_INVALID, [&] { sub.remove_channel(nothing); });
    sub.add_channel(text.substr(5, 3));
    b.publish("and", "two");
    expect(sub, e, "two");
    same(e.channel(), "and");
    sub.remove_channel("and");
    sub = b.subscribe_many({"a", "b"sv, text.substr(0, 1)});
    assert_int_equal(sub.stats().channels, 3);
}

static void durations_round_up()
{
    using namespace std::chrono;
    static_assert(timeout(1ms).ms() == 1 && timeout(1s).ms() == 1000 && timeout(2h).ms() == 7200000);
    static_assert(timeout(1ns).ms() == 1 && timeout(1000001ns).ms() == 2 && timeout(999999ns).ms() == 1);
    static_assert(timeout(2147483647ms).ms() == INT_MAX && timeout(2147483646ms).ms() == INT_MAX - 1);
    static_assert(timeout(2147483648ms).ms() == INT_MAX && timeout(hours::max()).ms() == INT_MAX);
    static_assert(timeout(nanoseconds::max()).ms() == INT_MAX && timeout(-1ns).ms() == BCAST_NOWAIT);
    static_assert(timeout(hours::min()).ms() == BCAST_NOWAIT && timeout(0s).ms() == BCAST_NOWAIT);
    static_assert(timeout(duration<double>(0.0015)).ms() == 2 && timeout(duration<float>(0.5f)).ms() == 500);
    static_assert(forever.ms() == BCAST_FOREVER && nowait.ms() == BCAST_NOWAIT && timeout().ms() == 0);
    assert_int_equal(timeout(duration<double>(std::numeric_limits<double>::infinity())).ms(), INT_MAX);
    assert_int_equal(timeout(duration<double>(std::nan(""))).ms(), BCAST_NOWAIT);
}

static void timeouts()
{
    broadcaster::subscribe_options options = limited(8);
    options.policy = BCAST_BLOCK;
    broadcaster::options patient;
    patient.publish_timeout = forever; /* the message's own time-out is shorter */
    broadcast b("memory://", patient);
    subscription sub = b.subscribe("x", options);
    std::error_code code = BCAST_ERR_NOMEM;
    event e;
    std::array<event, 4> events;
    assert_false(sub.next(e, 1ms));
    assert_false(sub.next(e, nowait, code));
    assert_true(!code); /* nothing came: no failure */
    assert_int_equal(sub.next_batch(events, 1us), 0);
    auto before = std::chrono::steady_clock::now();
    assert_false(sub.next(e, 20ms));
    assert_true(std::chrono::steady_clock::now() - before >= 20ms);

    broadcaster::message message;
    message.data = "data";
    message.publish_timeout = nowait;
    std::thread([&] {
        code.clear();
        for (int i = 0; i < 1000 && !code; i++)
            b.publish("x", message, code);
    }).join();
    assert_true(code == BCAST_TIMEOUT); /* it was not published: that must not go unnoticed */
    std::thread([&] { throws(BCAST_TIMEOUT, [&] { b.publish("x", message); }); }).join();
}

/* ----------------------------------------------------------------------------------------------- what is carried -- */

static void keys_and_headers()
{
    broadcast b("memory://");
    subscription sub = b.subscribe("x");
    broadcaster::message message;
    event e;
    message.data = "data";
    message.key = "key"sv;
    message.headers = {{"type", "text"}, {"empty", ""}, {"type", "a\0b"sv}};
    b.publish("x", message);
    b.channel("x").publish(message);
    for (int i = 0; i < 2; i++) {
        expect(sub, e, "data");
        same(e.key().value(), "key");
        assert_int_equal(e.headers().size(), 3);
        assert_string_equal(e.headers()[2].name, "type");
        same(e.headers()[2].value, "a\0b"sv);
        same(e.header("type").value(), "text");
        same(e.header("empty").value(), "");
        assert_false(e.header("none").has_value());
        same(e.id(), "");
    }
    message.key = std::string_view(); /* an empty key is a key */
    b.publish("x", message);
    b.publish("x", "bare");
    expect(sub, e, "data");
    same(e.key().value(), "");
    expect(sub, e, "bare");
    assert_false(e.key().has_value());
    assert_int_equal(e.headers().size(), 0);
    assert_false(e.timestamp().has_value());
}

template <class Events> static void read_in_batches(Events &events)
{
    broadcast b("memory://");
    subscription sub = b.subscribe("x");
    for (int i = 0; i < 1000; i++)
        b.publish("x", std::to_string(i));
    std::size_t total = 0, count;
    while ((count = sub.next_batch(events, nowait)) != 0)
        for (std::size_t i = 0; i < count; i++)
            same(events[i].data(), std::to_string(total++));
    assert_int_equal(total, 1000);
    b.publish("x", "last");
    assert_int_equal(sub.next_batch(events), 1);
    same(events[0].data(), "last");
    assert_false(events[1].is_message());
    sub.cancel();
    throws(BCAST_ERR_CLOSED, [&] { (void)sub.next_batch(events); });
}

static void batches()
{
    std::vector<event> vector(64), none;
    std::array<event, 7> array;
    event plain[3];
    read_in_batches(vector);
    read_in_batches(array);
    read_in_batches(plain);
    broadcast b("memory://");
    subscription sub = b.subscribe("x");
    throws(BCAST_ERR_INVALID, [&] { (void)sub.next_batch(none, nowait); });
}

static void pollable()
{
    broadcast b("memory://");
    subscription sub = b.subscribe("x");
    event e;
    pollfd watched = {sub.fd(), POLLIN, 0};
    assert_false(sub.next(e, nowait));
    assert_int_equal(poll(&watched, 1, 0), 0);
    b.publish("x", "data");
    assert_int_equal(poll(&watched, 1, 20000), 1);
    expect(sub, e, "data");
}

/* ------------------------------------------------------------------------------------------------------- history -- */

static void history_and_positions()
{
    broadcast b("memory://?history=1000");
    auto start = std::chrono::system_clock::now();
    subscription sub = b.subscribe("x");
    event e;
    for (int i = 0; i < 250; i++)
        b.publish("x", std::to_string(i));
    for (int i = 0; i < 200; i++)
        expect(sub, e, std::to_string(i));
    assert_true(e.timestamp().value() >= std::chrono::floor<std::chrono::microseconds>(start));

    broadcaster::subscribe_options options;
    options.resume = sub.position();
    subscription next = b.subscribe("x", options);
    expect(next, e, "200");
    options = {};
    options.history = 3;
    next = b.subscribe("x", options);
    expect(next, e, "247");
    options = {};
    options.since = start;
    next = b.subscribe("x", options);
    expect(next, e, "0");
    options.since = broadcaster::time_point(); /* 1970 is a bound, and all of it is later */
    next = b.subscribe("x", options);
    expect(next, e, "0");
    options.since = std::chrono::system_clock::now() + 1h;
    next = b.subscribe("x", options);
    assert_false(next.next(e, nowait));
    subscription many = b.subscribe_many({std::string(1000, 'a'), std::string(1000, 'b')});
    assert_true(many.position().size() > 2000);
}

static void pages()
{
    broadcast b("memory://?history=1000");
    for (int i = 0; i < 250; i++)
        b.publish("x", std::to_string(i));
    broadcaster::history_query query;
    query.limit = 60;
    int expected = 250;
    broadcaster::page page = b.history("x", query), newest = b.history("x");
    assert_int_equal(newest.size(), 100);
    for (;;) {
        int number = expected -= static_cast<int>(page.size());
        for (const event &e : page)
            same(e.data(), std::to_string(number++));
        if (!page.older())
            break;
        query.before = page.older();
        page = b.history("x", query);
    }
    assert_int_equal(expected, 0);
    query.before.reset();
    query.after = "";
    page = b.history("x", query);
    same((*page.begin()).data(), "0");
    assert_true(page.more());
    query.after = page.newer();
    for (int i = 250; i < 3000; i++)
        b.publish("x", std::to_string(i));
    std::uint64_t lost = 0, first = 0;
    page = b.history("x", query);
    for (const event &e : page)
        e.visit([&](const event &message) { first = first ? first : message.sequence(); },
                [&](const gap &gap) { lost = gap.lost; });
    assert_true(lost > 0);
    assert_int_equal(60 + lost, first);
    assert_int_equal(b.history("nobody knows it").size(), 0);
    assert_int_equal(broadcaster::page().size(), 0);
    query.after = "nonsense";
    throws(BCAST_ERR_INVALID, [&] { (void)b.history("x", query); });
}

/* ----------------------------------------------------------------------------------------------------- callbacks -- */

/* A backend that connects, logs a line, and answers every second message with an error. */
struct half {
    bcast_sink *sink;
    static int open(const bcast_backend_setup *setup, bcast_sink *sink, void **self)
    {
        static_cast<half *>(setup->context)->sink = sink;
        *self = setup->context;
        return BCAST_OK;
    }
    static void capabilities(void *, struct bcast_capabilities *out)
    {
        out->can = BCAST_CAN_CONFIRM;
    }
    static void connect(void *self)
    {
        bcast_sink *sink = static_cast<half *>(self)->sink;
        sink->log(sink, BCAST_LOG_INFO, "hello");
        sink->connected(sink);
    }
    static std::size_t publish(void *self, const bcast_outgoing *messages, std::size_t count)
    {
        bcast_sink *sink = static_cast<half *>(self)->sink;
        for (std::size_t i = 0; i < count; i++)
            sink->result(sink, messages[i].number, 1, messages[i].number % 2 ? BCAST_ERR_REFUSED : BCAST_OK);
        return count;
    }
    static void topics(void *, bcast_topic *const *, std::size_t)
    {
    }
    static bcast_backend backend()
    {
        bcast_backend b = {};
        b.struct_size = sizeof b;
        b.version = BCAST_BACKEND_VERSION;
        b.name = "half";
        b.open = open;
        b.capabilities = capabilities;
        b.connect = connect;
        b.disconnect = [](void *) {};
        b.publish = publish;
        b.subscribe = b.unsubscribe = topics;
        return b;
    }
};

static void callbacks_are_kept()
{
    half state = {};
    bcast_backend backend = half::backend();
    std::atomic<int> good = 0, refused = 0, closed = 0, logged = 0;
    {
        broadcaster::options options;
        std::string lasting = "captured, and longer than what a string or a function keeps within itself";
        options.on_log = [&, lasting](bcast_log_level level, std::string_view text) {
            logged += level == BCAST_LOG_INFO && text == "half: hello" && lasting.size() > 60;
        };
        options.on_state = [&, lasting](bcast_state to, std::error_code, std::string_view) {
            closed += to == BCAST_CLOSED && lasting.size() > 60;
        };
        broadcast b(backend, &state, options), moved = std::move(b);
        options = {};
        for (int i = 0; i < 10; i++) {
            broadcaster::message message;
            message.data = "data";
            message.on_result = [&, lasting](std::error_code code) {
                good += !code && lasting.size() > 60;
                refused += code == BCAST_ERR_REFUSED;
            };
            moved.publish("x", message);
        }
        throws(BCAST_ERR_PUBLISH, [&] { moved.flush(20s); });
        assert_int_equal(good, 5);
        assert_int_equal(refused, 5);
        assert_int_equal(logged, 1);
        assert_int_equal(closed, 0);
        moved = broadcast("memory://"); /* closed while its callbacks are still there */
        assert_int_equal(closed, 1);
    }
    assert_int_equal(closed, 1);
}

/* A message that was not accepted has no result; its function is freed all the same (AddressSanitizer would tell). */
static void results_of_what_was_published()
{
    broadcast b("memory://");
    int results = 0;
    broadcaster::message message;
    message.on_result = [&](std::error_code code) { results += !code; };
    b.publish("x", message);
    b.channel("x").publish(message);
    assert_int_equal(results, 2);
    throws(BCAST_ERR_INVALID, [&] { b.publish("", message); });
    assert_int_equal(results, 2);
}

static void options_are_handed_on()
{
    broadcaster::options options;
    options.max_message_bytes = 10;
    options.open_timeout = 5s;
    options.publish_timeout = 1s;
    options.thread_cpus = {0};
    broadcast b("memory://", options);
    throws(BCAST_ERR_TOO_LARGE, [&] { b.publish("x", "eleven byte"); });
    assert_true(b.capabilities().can & BCAST_CAN_BLOCK);
    broadcaster::subscribe_options sub_options;
    sub_options.shared = true;
    sub_options.limit_bytes = 1 << 20;
    sub_options.confirm_timeout = forever;
    subscription sub = b.subscribe("x", sub_options);
    sub_options.confirm_timeout = timeout::from_c(-3);
    throws(BCAST_ERR_INVALID, [&] { (void)b.subscribe("x", sub_options); });
    sub_options.confirm_timeout = {};
    sub_options.history = 70000;
    throws(BCAST_ERR_UNSUPPORTED, [&] {
        sub_options.limit_messages = 80000;
        (void)b.subscribe("x", sub_options);
    });
    std::vector<std::thread> workers;
    std::atomic<int> seen = 0;
    for (int i = 0; i < 3; i++)
        workers.emplace_back([&] {
            for (event &message : sub.messages(broadcaster::ignore_gaps))
                seen += message.data() == "data";
        });
    for (int i = 0; i < 3000; i++)
        b.publish("x", "data");
    while (seen != 3000)
        std::this_thread::yield();
    sub.cancel();
    for (std::thread &worker : workers)
        worker.join();
}

#define TEST(name)                                                                                                     \
    {                                                                                                                  \
#name, run < name>, nullptr, nullptr, nullptr                                                                  \
    }

int main()
{
    const struct CMUnitTest tests[] = {
        TEST(handles_move),
        TEST(outlive_the_broadcast),
        TEST(events_move),
        TEST(kept_events_leave_the_loop),
        TEST(keep_has_a_budget),
        TEST(loop_ends_when_cancelled),
        TEST(loop_ends_with_the_broadcast),
        TEST(other_ends_are_failures),
        TEST(loop_tells_of_gaps),
        TEST(gap_handler_may_throw),
        TEST(visit_wants_both),
        TEST(failures_throw_or_are_stored),
        TEST(names_are_views),
        TEST(durations_round_up),
        TEST(timeouts),
        TEST(keys_and_headers),
        TEST(batches),
        TEST(pollable),
        TEST(history_and_positions),
        TEST(pages),
        TEST(callbacks_are_kept),
        TEST(results_of_what_was_published),
        TEST(options_are_handed_on),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
