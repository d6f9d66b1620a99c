/* SPDX-License-Identifier: BSD-3-Clause
 *
 * broadcaster for C++17: classes that own what broadcaster.h opens. Header only, and nothing but thin calls of the C
 * functions: what they do, what they wait for and which thread may call them when is said in broadcaster.h.
 *
 *     broadcaster::broadcast b("memory://");
 *     auto sub = b.subscribe("news");
 *     b.publish("news", "hello");
 *     for (auto &message : sub.messages([](const broadcaster::gap &gap) { std::cerr << gap.lost << " missed\n"; }))
 *         std::cout << message.data() << '\n';
 *
 * Ownership. Every class can be moved and not copied; its destructor frees what it owns. As in C, subscriptions and
 * channels may outlive their broadcast, and events their subscription, but nobody may be inside a call on an object
 * that is being destroyed, assigned to or moved from: cancel() or shutdown(), let the threads return, then destroy.
 *
 * Threads. As in C: everything may be called from any thread at any time; a subscription, with the events it hands out,
 * is read by one thread at a time unless it is `shared`. keep() an event before another thread gets it.
 *
 * Failures. Every call that can fail takes an `errors` at its end. Leave it out, and a failure is thrown as
 * broadcaster::error; give your std::error_code there, and it is stored instead (bcast_error_text() has the sentence
 * that goes with it). Codes are those of enum bcast_status: `if (code == BCAST_ERR_CLOSED)`. Without exceptions
 * (-fno-exceptions) it cannot be left out. A time-out is no failure of next and next_batch, which were asked to wait
 * that long; it is one (BCAST_TIMEOUT) of the calls that had something to do and have not done it. Strings and vectors
 * may throw std::bad_alloc in either case.
 *
 * Gaps cannot be overlooked. A subscription has no begin(): messages() is the loop, and wants to be told what to do
 * with a gap (`ignore_gaps` says it in one word). Who calls next() gets events that may be either; visit() wants a
 * function for each, and data() of a gap is a mistake in the program: std::logic_error, or abort() without exceptions.
 *
 * Callbacks are kept as long as the library may call them. An exception must not leave them: std::terminate.
 */
#ifndef BROADCASTER_BROADCASTER_HPP
#define BROADCASTER_BROADCASTER_HPP

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* C has structs and functions of one name: here that hides constructors */
#endif
#include "broadcaster.h"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef __cpp_exceptions
#define BCAST_CPP_DEFAULT(value) = value
#else
#define BCAST_CPP_DEFAULT(value) /* nobody could be told of a failure: `errors`, which comes last, must be given */
#endif

struct bcast_backend;

/* ------------------------------------------------------------------------------------------------------ failures -- */

namespace broadcaster
{

class BCAST_API status_category : public std::error_category
{
  public:
    const char *name() const noexcept override
    {
        return "broadcaster";
    }
    std::string message(int status) const override
    {
        return bcast_status_text(status);
    }
};

/* One for the whole program, shared libraries included. */
inline BCAST_API const std::error_category &category() noexcept
{
    static const status_category it;
    return it;
}

} // namespace broadcaster

inline std::error_code make_error_code(bcast_status status) noexcept
{
    return {status, broadcaster::category()};
}

template <> struct std::is_error_code_enum<bcast_status> : std::true_type {
};

namespace broadcaster
{

/* code() is the status; what() says what to do about it. */
class BCAST_API error : public std::system_error
{
  public:
    explicit error(int status) : std::system_error(status, category(), bcast_error_text())
    {
    }
};

/* Where a failure goes: it is thrown, or stored in your std::error_code, which is cleared when there is none. */
class errors
{
  public:
#ifdef __cpp_exceptions
    errors() noexcept = default;
#endif
    errors(std::error_code &code) noexcept : code_(&code)
    {
    }

    /* True if the status is good. */
    bool check(int status) const
    {
        if (code_ != nullptr)
            code_->assign(status, category());
#ifdef __cpp_exceptions
        else if (status != BCAST_OK)
            throw error(status);
#endif
        return status == BCAST_OK;
    }

  private:
    std::error_code *code_ = nullptr;
};

namespace detail
{

[[noreturn]] inline void misuse(const char *what)
{
#ifdef __cpp_exceptions
    throw std::logic_error(what);
#else
    (void)what;
    std::abort();
#endif
}

/* C takes a size of 0 for "up to the NUL", which a string_view need not have. */
inline const char *name_of(std::string_view channel) noexcept
{
    return channel.empty() ? "" : channel.data();
}

} // namespace detail

/* ------------------------------------------------------------------------------------------------------- options -- */

/* How long to wait: any std::chrono duration, rounded up to milliseconds; nothing above INT_MAX of them (24 days), and
 * nothing below 0. In options, timeout() is the default of the C struct. */
class timeout
{
  public:
    constexpr timeout() noexcept = default;

    template <class Rep, class Period>
    constexpr timeout(std::chrono::duration<Rep, Period> duration) noexcept
        : ms_(round_up(std::chrono::duration<long double, std::milli>(duration).count()))
    {
    }

    static constexpr timeout from_c(int timeout_ms) noexcept
    {
        timeout result;
        result.ms_ = timeout_ms;
        return result;
    }

    constexpr int ms() const noexcept
    {
        return ms_;
    }

  private:
    static constexpr int round_up(long double ms) noexcept
    {
        if (!(ms > 0))
            return BCAST_NOWAIT; /* 0 would be the default where this is an option */
        if (ms >= static_cast<long double>(INT_MAX))
            return INT_MAX;
        int whole = static_cast<int>(ms);
        return static_cast<long double>(whole) < ms ? whole + 1 : whole;
    }

    int ms_ = 0;
};

inline constexpr timeout forever = timeout::from_c(BCAST_FOREVER);
inline constexpr timeout nowait = timeout::from_c(BCAST_NOWAIT);

using time_point = std::chrono::system_clock::time_point;

namespace detail
{

inline std::int64_t since_us(const std::optional<time_point> &since)
{
    using std::chrono::microseconds;
    if (!since)
        return 0;
    auto us = std::chrono::floor<microseconds>(since->time_since_epoch()).count();
    return us > 0 ? us : 1; /* 0 would be "no bound" */
}

} // namespace detail

/* Members that are left as they are have the defaults of the C struct. */
struct options {
    std::function<void(bcast_log_level, std::string_view text)> on_log = {};
    std::function<void(bcast_state, std::error_code, std::string_view reason)> on_state = {};
    const bcast_backend *const *backends = nullptr; /* NULL-terminated: schemes of your own */
    timeout open_timeout = {};
    timeout publish_timeout = {};
    std::size_t max_message_bytes = 0;
    std::size_t keep_bytes = 0;
    std::size_t queue_bytes = 0;
    std::size_t queue_messages = 0;
    int queue_ms = 0;
    std::size_t thread_stack_bytes = 0;
    std::vector<int> thread_cpus = {};
};

struct subscribe_options {
    bcast_policy policy = BCAST_DROP_OLDEST;
    bool shared = false;
    std::size_t limit_messages = 0;
    std::size_t limit_bytes = 0;
    timeout confirm_timeout = {};
    std::size_t history = 0;
    std::optional<time_point> since = {};
    std::string resume = {}; /* from position(); "": do not resume */
};

struct history_query {
    std::size_t limit = 0;
    std::size_t limit_bytes = 0;
    std::optional<std::string> before = {};
    std::optional<std::string> after = {};
    std::optional<time_point> since = {};
    timeout answer_timeout = {};
};

struct header {
    const char *name;
    std::string_view value;
};

/* A message to publish, where it is more than data. The views are read during the call only. */
struct message {
    std::string_view data = {};
    std::optional<std::string_view> key = {};
    std::vector<header> headers = {};
    timeout publish_timeout = {};
    std::function<void(std::error_code)> on_result = {}; /* called once, if the publish itself did not fail */
};

/* -------------------------------------------------------------------------------------------------------- events -- */

/* Messages that did not come. The channel's name is good as long as the event and its subscription are. */
struct gap {
    std::string_view channel;
    std::uint64_t sequence; /* of what comes next */
    std::uint64_t lost;
    bcast_count count; /* how exact `lost` is */
    bcast_gap_reason reason;
};

inline constexpr auto ignore_gaps = [](const gap &) noexcept {};

/* A message or a gap; or, when new, moved from or released, neither. It borrows its data from the library until it is
 * given to next again, released or destroyed. Moving it hands the borrow on. */
class event
{
  public:
    event() noexcept = default;
    event(event &&other) noexcept : raw_(std::exchange(other.raw_, bcast_event()))
    {
    }
    event &operator=(event &&other) noexcept
    {
        if (this != &other) {
            release();
            raw_ = std::exchange(other.raw_, bcast_event());
        }
        return *this;
    }
    ~event()
    {
        release();
    }

    bool is_message() const noexcept
    {
        return raw_.kind == BCAST_MESSAGE;
    }
    bool is_gap() const noexcept
    {
        return raw_.kind == BCAST_GAP;
    }

    /* Calls on_message with this event, or on_gap with its gap; returns what that returns. */
    template <class OnMessage, class OnGap> decltype(auto) visit(OnMessage &&on_message, OnGap &&on_gap)
    {
        return visit_as(*this, on_message, on_gap);
    }
    template <class OnMessage, class OnGap> decltype(auto) visit(OnMessage &&on_message, OnGap &&on_gap) const
    {
        return visit_as(*this, on_message, on_gap);
    }

    std::string_view channel() const noexcept
    {
        return {raw_.channel, raw_.channel_size};
    }
    std::uint64_t sequence() const noexcept
    {
        return raw_.sequence;
    }

    /* Of a message only. The data is aligned to 8 bytes. */
    std::string_view data() const
    {
        must_be(BCAST_MESSAGE);
        return {static_cast<const char *>(raw_.data), raw_.size};
    }
    std::optional<time_point> timestamp() const
    {
        must_be(BCAST_MESSAGE);
        if (raw_.timestamp_us == 0)
            return std::nullopt;
        return time_point(std::chrono::microseconds(raw_.timestamp_us));
    }
    std::optional<std::string_view> key() const
    {
        std::size_t size = 0;
        must_be(BCAST_MESSAGE);
        const void *key = bcast_event_key(&raw_, &size);
        if (key == nullptr)
            return std::nullopt;
        return std::string_view(static_cast<const char *>(key), size);
    }
    std::vector<broadcaster::header> headers() const
    {
        must_be(BCAST_MESSAGE);
        std::vector<broadcaster::header> all(bcast_event_header_count(&raw_));
        for (std::size_t i = 0; i < all.size(); i++)
            all[i] = header_at(i);
        return all;
    }
    /* The first of that name. */
    std::optional<std::string_view> header(std::string_view name) const
    {
        must_be(BCAST_MESSAGE);
        for (std::size_t i = 0; i < bcast_event_header_count(&raw_); i++)
            if (broadcaster::header found = header_at(i); found.name == name)
                return found.value;
        return std::nullopt;
    }
    /* The broker's; "" where it has none. */
    std::string_view id() const
    {
        must_be(BCAST_MESSAGE);
        return bcast_event_id(&raw_);
    }

    /* Of a gap only. */
    broadcaster::gap gap() const
    {
        must_be(BCAST_GAP);
        return {channel(), raw_.sequence, raw_.lost, static_cast<bcast_count>(raw_.count),
                static_cast<bcast_gap_reason>(raw_.reason)};
    }

    /* From now on the event is independent of its subscription; move it wherever you like. */
    void keep(errors e BCAST_CPP_DEFAULT({}))
    {
        e.check(bcast_keep(&raw_));
    }
    void release() noexcept
    {
        bcast_release(&raw_);
    }

    bcast_event *get() noexcept
    {
        return &raw_;
    }

  private:
    friend class page_iterator;

    /* One of a page, which owns what it points to: this object borrows nothing. */
    static event of_page(const bcast_event &raw) noexcept
    {
        event result;
        result.raw_ = raw;
        result.raw_.hold = 0;
        return result;
    }
    template <class Event, class OnMessage, class OnGap>
    static decltype(auto) visit_as(Event &event, OnMessage &on_message, OnGap &on_gap)
    {
        if (event.is_gap())
            return on_gap(event.gap());
        return on_message(event);
    }
    void must_be(bcast_kind kind) const
    {
        if (raw_.kind != kind)
            detail::misuse(kind == BCAST_GAP ? "broadcaster: this event is not a gap"
                                             : "broadcaster: this event is not a message: ask is_gap(), or visit() it");
    }
    broadcaster::header header_at(std::size_t index) const
    {
        bcast_header raw = {};
        (void)bcast_event_header(&raw_, index, &raw);
        return {raw.name, {static_cast<const char *>(raw.value), raw.value_size}};
    }

    bcast_event raw_ = BCAST_EVENT_INIT;
};

/* An array of the one is given to C as an array of the other. */
static_assert(std::is_standard_layout_v<event> && sizeof(event) == sizeof(bcast_event));

/* ------------------------------------------------------------------------------------------------- subscriptions -- */

/* What messages() returns: a loop that waits for messages, until the subscription is cancelled or the broadcast ends. */
template <class OnGap> class message_range
{
    static_assert(std::is_invocable_v<OnGap &, const gap &>,
                  "messages() wants a function that takes a broadcaster::gap; or broadcaster::ignore_gaps");

  public:
    struct sentinel {
    };

    class iterator
    {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = event;
        using difference_type = std::ptrdiff_t;
        using pointer = event *;
        using reference = event &;

        explicit iterator(message_range &range) : range_(&range)
        {
        }
        event &operator*() const noexcept
        {
            return range_->event_;
        }
        event *operator->() const noexcept
        {
            return &range_->event_;
        }
        iterator &operator++()
        {
            range_->advance();
            return *this;
        }
        void operator++(int)
        {
            range_->advance();
        }
        bool operator==(sentinel) const noexcept
        {
            return range_->ended_;
        }
        bool operator!=(sentinel) const noexcept
        {
            return !range_->ended_;
        }

      private:
        message_range *range_;
    };

    message_range(bcast_sub *sub, OnGap &&on_gap, errors e) : sub_(sub), on_gap_(std::move(on_gap)), errors_(e)
    {
    }
    message_range(const message_range &) = delete;
    message_range &operator=(const message_range &) = delete;

    iterator begin()
    {
        advance();
        return iterator(*this);
    }
    sentinel end() const noexcept
    {
        return {};
    }

  private:
    void advance()
    {
        while (!ended_) {
            int status = bcast_next(sub_, event_.get(), BCAST_FOREVER);
            /* closed: the end that such a loop is meant to have */
            ended_ = status == BCAST_ERR_CLOSED || !errors_.check(status);
            if (status == BCAST_ERR_CLOSED)
                errors_.check(BCAST_OK);
            if (event_.is_message())
                return;
            if (event_.is_gap())
                on_gap_(event_.gap());
        }
    }

    bcast_sub *sub_;
    OnGap on_gap_;
    errors errors_;
    event event_;
    bool ended_ = false;
};

namespace detail
{

/* For std::unique_ptr: frees with a function of the C API. */
template <auto Free> struct freed_with {
    template <class T> void operator()(T *handle) const noexcept
    {
        Free(handle);
    }
};

} // namespace detail

class subscription
{
  public:
    subscription() noexcept = default;
    explicit subscription(bcast_sub *raw) noexcept : raw_(raw) /* and owns it */
    {
    }

    /* for (auto &message : sub.messages(on_gap)): each message, and on_gap(gap) for each gap in its place. Waits, until
     * cancel(), or shutdown() of the broadcast, ends the loop; every other end is a failure. What you want to have
     * after its turn, keep() and move away. */
    template <class OnGap> message_range<OnGap> messages(OnGap on_gap, errors e BCAST_CPP_DEFAULT({}))
    {
        return message_range<OnGap>(get(), std::move(on_gap), e);
    }

    /* False: nothing came in that time. That the subscription is closed is a failure here. Give it the same object
     * again and again. */
    [[nodiscard]] bool next(event &into, timeout wait BCAST_CPP_DEFAULT(forever), errors e BCAST_CPP_DEFAULT({}))
    {
        return arrived(bcast_next(get(), into.get(), wait.ms()), e);
    }

    /* Waits for one event and takes what else is there, up to the size of `into`: a std::vector<event>, std::array,
     * std::span. Returns how many came; the others are empty. */
    template <class Events>
    [[nodiscard]] std::size_t next_batch(Events &into, timeout wait BCAST_CPP_DEFAULT(forever),
                                         errors e BCAST_CPP_DEFAULT({}))
    {
        static_assert(std::is_same_v<decltype(std::data(into)), event *>, "next_batch() wants an array of events");
        std::size_t count = 0, max = std::size(into);
        auto *first = reinterpret_cast<bcast_event *>(std::data(into));
        return arrived(bcast_next_batch(get(), first, max, &count, wait.ms()), e) ? count : 0;
    }

    void add_channel(std::string_view channel, errors e BCAST_CPP_DEFAULT({}))
    {
        e.check(bcast_add_channel(get(), detail::name_of(channel), channel.size()));
    }
    void remove_channel(std::string_view channel, errors e BCAST_CPP_DEFAULT({}))
    {
        e.check(bcast_remove_channel(get(), detail::name_of(channel), channel.size()));
    }

    /* For poll and epoll; next(event, nowait) until it returns false. Negative only where `e` has it. */
    int fd(errors e BCAST_CPP_DEFAULT({}))
    {
        int fd = bcast_fd(get());
        e.check(fd < 0 ? fd : BCAST_OK);
        return fd;
    }

    void cancel() noexcept
    {
        bcast_cancel(get());
    }

    /* For `resume` in the options of another subscription. */
    std::string position(errors e BCAST_CPP_DEFAULT({})) const
    {
        std::string text(128, '\0');
        std::size_t length = 0;
        int status;
        while ((status = bcast_position(get(), text.data(), text.size(), &length)) == BCAST_ERR_TOO_LARGE)
            text.resize(length + 1);
        text.resize(e.check(status) ? length : 0);
        return text;
    }

    struct bcast_sub_stats stats(errors e BCAST_CPP_DEFAULT({})) const
    {
        struct bcast_sub_stats stats = bcast_sub_stats_init();
        e.check(bcast_sub_stats(get(), &stats));
        return stats;
    }

    explicit operator bool() const noexcept
    {
        return raw_ != nullptr;
    }
    bcast_sub *get() const noexcept
    {
        return raw_.get();
    }

  private:
    static bool arrived(int status, errors e)
    {
        return e.check(status == BCAST_TIMEOUT ? BCAST_OK : status) && status == BCAST_OK;
    }

    std::unique_ptr<bcast_sub, detail::freed_with<bcast_unsubscribe>> raw_;
};

/* ------------------------------------------------------------------------------------------------------- history -- */

class page_iterator
{
  public:
    using iterator_category = std::input_iterator_tag;
    using value_type = event;
    using difference_type = std::ptrdiff_t;
    using pointer = const event *;
    using reference = const event &;

    explicit page_iterator(const bcast_event *at) noexcept : at_(at)
    {
    }
    const event &operator*() noexcept
    {
        event_ = event::of_page(*at_);
        return event_;
    }
    page_iterator &operator++() noexcept
    {
        at_++;
        return *this;
    }
    friend bool operator==(const page_iterator &a, const page_iterator &b) noexcept
    {
        return a.at_ == b.at_;
    }
    friend bool operator!=(const page_iterator &a, const page_iterator &b) noexcept
    {
        return a.at_ != b.at_;
    }

  private:
    const bcast_event *at_;
    event event_;
};

/* for (const auto &event : page): what the event points to belongs to the page; the event itself, to that turn of the
 * loop. With `after` the first may be a gap: visit() it. */
class page
{
  public:
    page() noexcept = default;
    explicit page(bcast_page *raw) noexcept : raw_(raw) /* and owns it */
    {
    }

    page_iterator begin() const noexcept
    {
        return page_iterator(raw_ ? raw_->events : nullptr);
    }
    page_iterator end() const noexcept
    {
        return page_iterator(raw_ ? raw_->events + raw_->count : nullptr);
    }
    std::size_t size() const noexcept
    {
        return raw_ ? raw_->count : 0;
    }
    /* For `before` and `after` in the next query. */
    std::optional<std::string> older() const
    {
        return raw_ && raw_->older != nullptr ? std::optional<std::string>(raw_->older) : std::nullopt;
    }
    std::optional<std::string> newer() const
    {
        return raw_ ? std::optional<std::string>(raw_->newer) : std::nullopt;
    }
    bool more() const noexcept
    {
        return raw_ && raw_->more != 0;
    }

    explicit operator bool() const noexcept
    {
        return raw_ != nullptr;
    }
    bcast_page *get() const noexcept
    {
        return raw_.get();
    }

  private:
    std::unique_ptr<bcast_page, detail::freed_with<bcast_page_free>> raw_;
};

/* ---------------------------------------------------------------------------------------------------- publishing -- */

namespace detail
{

using result_function = std::function<void(std::error_code)>;

/* The library calls this once for each message that it has accepted. */
inline void on_result(void *context, int status) noexcept
{
    std::unique_ptr<result_function> call(static_cast<result_function *>(context));
    (*call)(std::error_code(status, category()));
}

inline bcast_message to_c(std::string_view data) noexcept
{
    bcast_message raw = bcast_message_init();
    raw.data = data.data();
    raw.size = data.size();
    return raw;
}

/* Hands `m` in its C form to `publish`, which returns a status. */
template <class Publish> int publish(const message &m, Publish publish)
{
    bcast_message raw = to_c(m.data);
    std::vector<bcast_header> headers;
    headers.reserve(m.headers.size());
    for (const header &h : m.headers)
        headers.push_back({h.name, h.value.data(), h.value.size()});
    raw.headers = headers.data();
    raw.header_count = headers.size();
    if (m.key) {
        raw.key = name_of(*m.key);
        raw.key_size = m.key->size();
    }
    raw.timeout_ms = m.publish_timeout.ms();
    std::unique_ptr<result_function> call;
    if (m.on_result) {
        call = std::make_unique<result_function>(m.on_result);
        raw.on_result = on_result;
        raw.context = call.get();
    }
    int status = publish(raw);
    if (status == BCAST_OK)
        (void)call.release(); /* on_result has freed it, or will */
    return status;
}

} // namespace detail

/* A channel looked up once, to publish to. */
class channel
{
  public:
    channel() noexcept = default;
    explicit channel(struct bcast_channel *raw) noexcept : raw_(raw) /* and owns it */
    {
    }

    void publish(std::string_view data, errors e BCAST_CPP_DEFAULT({}))
    {
        e.check(bcast_publish_to(get(), data.data(), data.size()));
    }
    void publish(const message &m, errors e BCAST_CPP_DEFAULT({}))
    {
        e.check(detail::publish(m, [&](const bcast_message &raw) { return bcast_publish_message_to(get(), &raw); }));
    }

    explicit operator bool() const noexcept
    {
        return raw_ != nullptr;
    }
    struct bcast_channel *get() const noexcept
    {
        return raw_.get();
    }

  private:
    std::unique_ptr<struct bcast_channel, detail::freed_with<bcast_channel_free>> raw_;
};

/* ----------------------------------------------------------------------------------------------------- broadcast -- */

class broadcast
{
  public:
    broadcast() noexcept = default;
    explicit broadcast(const std::string &url, const options &options BCAST_CPP_DEFAULT({}),
                       errors e BCAST_CPP_DEFAULT({}))
    {
        open(options, e, [&](const bcast_options &raw, bcast **out) { return bcast_open(url.c_str(), &raw, out); });
    }
    /* Over a backend of your own (backend.h). */
    broadcast(const bcast_backend &backend, void *context, const options &options BCAST_CPP_DEFAULT({}),
              errors e BCAST_CPP_DEFAULT({}))
    {
        open(options, e,
             [&](const bcast_options &raw, bcast **out) { return bcast_open_backend(&backend, context, &raw, out); });
    }

    void publish(std::string_view channel, std::string_view data, errors e BCAST_CPP_DEFAULT({}))
    {
        e.check(publish_raw(channel, detail::to_c(data)));
    }
    void publish(std::string_view channel, const message &m, errors e BCAST_CPP_DEFAULT({}))
    {
        e.check(detail::publish(m, [&](const bcast_message &raw) { return publish_raw(channel, raw); }));
    }
    void flush(timeout wait BCAST_CPP_DEFAULT(forever), errors e BCAST_CPP_DEFAULT({}))
    {
        e.check(bcast_flush(get(), wait.ms()));
    }

    broadcaster::channel channel(std::string_view name, errors e BCAST_CPP_DEFAULT({}))
    {
        struct bcast_channel *raw = nullptr;
        e.check(bcast_channel(get(), detail::name_of(name), name.size(), &raw));
        return broadcaster::channel(raw);
    }

    subscription subscribe(std::string_view channel, const subscribe_options &options BCAST_CPP_DEFAULT({}),
                           errors e BCAST_CPP_DEFAULT({}))
    {
        return subscribe_many({channel}, options, e);
    }
    /* All of the channels or none. */
    subscription subscribe_many(const std::vector<std::string_view> &channels,
                                const subscribe_options &options BCAST_CPP_DEFAULT({}), errors e BCAST_CPP_DEFAULT({}))
    {
        std::vector<const char *> names;
        std::vector<std::size_t> sizes;
        for (std::string_view channel : channels) {
            names.push_back(detail::name_of(channel));
            sizes.push_back(channel.size());
        }
        bcast_sub_options raw = to_c(options);
        bcast_sub *sub = nullptr;
        e.check(bcast_subscribe_many(get(), names.data(), sizes.data(), names.size(), &raw, &sub));
        return subscription(sub);
    }

    page history(std::string_view channel, const history_query &query BCAST_CPP_DEFAULT({}),
                 errors e BCAST_CPP_DEFAULT({}))
    {
        bcast_history_query raw = to_c(query);
        bcast_page *out = nullptr;
        raw.channel_size = channel.size();
        e.check(bcast_history(get(), detail::name_of(channel), &raw, &out));
        return page(out);
    }

    struct bcast_capabilities capabilities(errors e BCAST_CPP_DEFAULT({})) const
    {
        struct bcast_capabilities capabilities = bcast_capabilities_init();
        e.check(bcast_capabilities(get(), &capabilities));
        return capabilities;
    }
    struct bcast_stats stats(errors e BCAST_CPP_DEFAULT({})) const
    {
        struct bcast_stats stats = bcast_stats_init();
        e.check(bcast_stats(get(), &stats));
        return stats;
    }

    void shutdown() noexcept
    {
        bcast_shutdown(get());
    }
    void close() noexcept
    {
        open_.reset();
    }

    explicit operator bool() const noexcept
    {
        return get() != nullptr;
    }
    bcast *get() const noexcept
    {
        return open_ ? open_->handle : nullptr;
    }

  private:
    /* In one piece, so that the callbacks go only after the handle is closed, and stay where they are when the
     * broadcast is moved. */
    struct opened {
        decltype(options::on_log) log;
        decltype(options::on_state) state;
        bcast *handle = nullptr;

        opened(const options &options) : log(options.on_log), state(options.on_state)
        {
        }
        opened(const opened &) = delete;
        opened &operator=(const opened &) = delete;
        ~opened()
        {
            bcast_close(handle);
        }

        static void on_log(void *context, bcast_log_level level, const char *text) noexcept
        {
            static_cast<opened *>(context)->log(level, text);
        }
        static void on_state(void *context, bcast_state state, int status, const char *reason) noexcept
        {
            static_cast<opened *>(context)->state(state, std::error_code(status, category()), reason);
        }
    };

    template <class Open> void open(const options &options, errors e, Open open)
    {
        auto opening = std::make_unique<opened>(options);
        bcast_options raw = to_c(options);
        raw.on_log = options.on_log ? opened::on_log : nullptr;
        raw.on_state = options.on_state ? opened::on_state : nullptr;
        raw.log_context = raw.state_context = opening.get();
        if (e.check(open(raw, &opening->handle)))
            open_ = std::move(opening);
    }

    static bcast_options to_c(const options &options)
    {
        bcast_options raw = bcast_options_init();
        raw.backends = options.backends;
        raw.open_timeout_ms = options.open_timeout.ms();
        raw.publish_timeout_ms = options.publish_timeout.ms();
        raw.max_message_bytes = options.max_message_bytes;
        raw.keep_bytes = options.keep_bytes;
        raw.queue_bytes = options.queue_bytes;
        raw.queue_messages = options.queue_messages;
        raw.queue_ms = options.queue_ms;
        raw.thread_stack_bytes = options.thread_stack_bytes;
        raw.thread_cpus = options.thread_cpus.empty() ? nullptr : options.thread_cpus.data();
        raw.thread_cpu_count = options.thread_cpus.size();
        return raw;
    }

    static bcast_sub_options to_c(const subscribe_options &options)
    {
        bcast_sub_options raw = bcast_sub_options_init();
        raw.policy = options.policy;
        raw.shared = options.shared;
        raw.limit_messages = options.limit_messages;
        raw.limit_bytes = options.limit_bytes;
        raw.timeout_ms = options.confirm_timeout.ms();
        raw.history = options.history;
        raw.since_us = detail::since_us(options.since);
        raw.resume = options.resume.empty() ? nullptr : options.resume.c_str();
        return raw;
    }

    static bcast_history_query to_c(const history_query &query)
    {
        bcast_history_query raw = bcast_history_query_init();
        raw.limit = query.limit;
        raw.limit_bytes = query.limit_bytes;
        raw.before = query.before ? query.before->c_str() : nullptr;
        raw.after = query.after ? query.after->c_str() : nullptr;
        raw.since_us = detail::since_us(query.since);
        raw.timeout_ms = query.answer_timeout.ms();
        return raw;
    }

    int publish_raw(std::string_view channel, bcast_message raw)
    {
        raw.channel = detail::name_of(channel);
        raw.channel_size = channel.size();
        return bcast_publish_message(get(), &raw);
    }

    std::unique_ptr<opened> open_;
};

} // namespace broadcaster

#undef BCAST_CPP_DEFAULT
#endif
