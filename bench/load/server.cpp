// A timing server: vLLM's streaming wire with tokens written at exact times, and a log of when it wrote them.
//
//   server NTOKENS FIRST_US GAP_US LOGFILE      listens on a free port of 127.0.0.1 and prints it
//   GET /reset forgets the log; GET /log writes it to LOGFILE and answers {"requests": n, "most_at_once": n}
//
// The log, of int64 in native order, per finished request: arrival of its last byte, number of tokens, then the time
// of each token's write (CLOCK_MONOTONIC, ns). One thread, epoll, timers in a heap.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using Nanoseconds = int64_t;

Nanoseconds now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

struct Request {
  Nanoseconds arrival;
  std::vector<Nanoseconds> writes;
};

struct Connection {
  int fd;
  uint64_t id;
  std::string in, out;
  bool answering = false;
  Request request;
};

struct Timer {
  Nanoseconds due;
  uint64_t connection;
  bool operator<(const Timer& other) const { return due > other.due; }
};

const char* const ROLE =
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\",\"choices\":[{\"index\":0,"
    "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";

class Server {
 public:
  Server(int tokens, Nanoseconds first, Nanoseconds gap, std::string log)
      : tokens_(tokens), first_(first), gap_(gap), log_(std::move(log)) {}

  int listen_on_loopback() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) || listen(listener_, 4096)) return -1;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    poll_ = epoll_create1(0);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = 0;
    epoll_ctl(poll_, EPOLL_CTL_ADD, listener_, &event);
    return ntohs(address.sin_port);
  }

  void serve() {
    std::vector<epoll_event> events(512);
    for (;;) {
      timespec wait{}, *limit = nullptr;
      if (!timers_.empty()) {
        Nanoseconds left = std::max<Nanoseconds>(0, timers_.top().due - now());
        wait = {left / 1'000'000'000, left % 1'000'000'000};
        limit = &wait;
      }
      int count = epoll_pwait2(poll_, events.data(), static_cast<int>(events.size()), limit, nullptr);
      for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == 0)
          accept_all();
        else
          readable(events[i].data.u64);
      }
      fire();
    }
  }

 private:
  void accept_all() {
    for (int fd; (fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
      int one = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      uint64_t id = ++last_id_;
      connections_[id] = Connection{fd, id, {}, {}, false, {}};
      epoll_event event{};
      event.events = EPOLLIN | EPOLLRDHUP;
      event.data.u64 = id;
      epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event);
    }
  }

  void readable(uint64_t id) {
    auto found = connections_.find(id);
    if (found == connections_.end()) return;
    Connection& connection = found->second;
    char buffer[65536];
    for (;;) {
      ssize_t got = recv(connection.fd, buffer, sizeof buffer, 0);
      if (got > 0) {
        connection.in.append(buffer, got);
        continue;
      }
      if (got == 0 || errno != EAGAIN) return close_connection(connection);
      break;
    }
    answer_next(connection);
  }

  void answer_next(Connection& connection) {
    if (connection.answering) return;
    size_t head = connection.in.find("\r\n\r\n");
    if (head == std::string::npos) return;
    size_t length = 0;
    for (size_t line = connection.in.find("\r\n"); line < head; line = connection.in.find("\r\n", line + 2))
      if (!strncasecmp(connection.in.data() + line + 2, "content-length:", 15))
        length = strtoul(connection.in.data() + line + 17, nullptr, 10);
    if (connection.in.size() < head + 4 + length) return;
    std::string start = connection.in.substr(0, connection.in.find("\r\n"));
    connection.in.erase(0, head + 4 + length);
    if (start.find("/chat/completions ") != std::string::npos) {
      connection.answering = true;
      connection.request = Request{now(), {}};
      connection.request.writes.reserve(tokens_);
      most_at_once_ = std::max(most_at_once_, ++at_once_);
      timers_.push({connection.request.arrival + first_, connection.id});
    } else if (start.find(" /reset ") != std::string::npos) {
      done_.clear();
      most_at_once_ = at_once_;
      plain(connection, "{}");
    } else if (start.find(" /log ") != std::string::npos) {
      plain(connection, write_log());
    } else if (start.find("/models ") != std::string::npos) {
      plain(connection,
            "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\",\"created\":1,\"owned_by\":\"vllm\","
            "\"root\":\"bench\",\"max_model_len\":4096}]}");
    } else {
      plain(connection, "{}");
    }
  }

  void fire() {
    for (Nanoseconds time = now(); !timers_.empty() && timers_.top().due <= time;) {
      Timer timer = timers_.top();
      timers_.pop();
      auto found = connections_.find(timer.connection);
      if (found == connections_.end()) continue;
      Connection& connection = found->second;
      write_token(connection);
      size_t written = connection.request.writes.size();
      if (written < static_cast<size_t>(tokens_)) {
        timers_.push({connection.request.arrival + first_ + gap_ * static_cast<Nanoseconds>(written), connection.id});
        continue;
      }
      done_.push_back(std::move(connection.request));
      connection.answering = false;
      at_once_--;
      answer_next(connection);
    }
  }

  void write_token(Connection& connection) {
    size_t index = connection.request.writes.size();
    bool last = index + 1 == static_cast<size_t>(tokens_);
    if (index == 0) {
      connection.out +=
          "HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
      chunk(connection.out, ROLE);
    }
    chunk(connection.out,
          std::string("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\",\"choices\":"
                      "[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\"finish_reason\":") +
              (last ? "\"length\",\"stop_reason\":null" : "null") + "}]}\n\n");
    if (last) {
      chunk(connection.out,
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\",\"choices\":[],"
            "\"usage\":{\"prompt_tokens\":8,\"total_tokens\":" +
                std::to_string(8 + tokens_) + ",\"completion_tokens\":" + std::to_string(tokens_) + "}}\n\n");
      chunk(connection.out, "data: [DONE]\n\n");
      connection.out += "0\r\n\r\n";
    }
    connection.request.writes.push_back(now());
    flush(connection);
  }

  static void chunk(std::string& out, const std::string& data) {
    char size[16];
    out.append(size, snprintf(size, sizeof size, "%zx\r\n", data.size()));
    out += data;
    out += "\r\n";
  }

  static void plain(Connection& connection, const std::string& body) {
    connection.out += "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: " + std::to_string(body.size()) +
                      "\r\n\r\n" + body;
    flush(connection);
  }

  // Answers are small and clients read them at once: what the socket does not take waits for the next write.
  static void flush(Connection& connection) {
    while (!connection.out.empty()) {
      ssize_t sent = send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      connection.out.erase(0, sent);
    }
  }

  std::string write_log() {
    FILE* file = fopen(log_.c_str(), "wb");
    if (!file) return "{\"error\": \"log\"}";
    for (const Request& request : done_) {
      int64_t head[2] = {request.arrival, static_cast<int64_t>(request.writes.size())};
      fwrite(head, sizeof head[0], 2, file);
      fwrite(request.writes.data(), sizeof(Nanoseconds), request.writes.size(), file);
    }
    fclose(file);
    return "{\"requests\": " + std::to_string(done_.size()) + ", \"most_at_once\": " + std::to_string(most_at_once_) + "}";
  }

  void close_connection(Connection& connection) {
    if (connection.answering) at_once_--;
    close(connection.fd);
    connections_.erase(connection.id);
  }

  int tokens_;
  Nanoseconds first_, gap_;
  std::string log_;
  int listener_ = -1, poll_ = -1;
  uint64_t last_id_ = 0;
  int at_once_ = 0, most_at_once_ = 0;
  std::unordered_map<uint64_t, Connection> connections_;
  std::priority_queue<Timer> timers_;
  std::vector<Request> done_;
};

}  // namespace

int main(int count, char** values) {
  if (count != 5) {
    fprintf(stderr, "usage: server NTOKENS FIRST_US GAP_US LOGFILE\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  Server server(atoi(values[1]), atoll(values[2]) * 1000, atoll(values[3]) * 1000, values[4]);
  int port = server.listen_on_loopback();
  if (port < 0) {
    perror("listen");
    return 1;
  }
  printf("%d\n", port);
  fflush(stdout);
  server.serve();
}
