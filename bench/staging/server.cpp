// A hub and an S3 that cost almost nothing, and a client that shows how little: contents come from one repeated block
// of the page cache by sendfile, uploads are thrown away in the kernel (MSG_TRUNC). A thread per connection, HTTP/1.1.
//
//   server hub BLOCK FILES MIBS    the Hugging Face Hub's calls for one repo, and its CDN on 127.0.0.2
//   server s3 BLOCK FILES MIBS     S3 with multipart uploads; large objects are kept as sizes and served from the block
//   server get BLOCK FILES PORT THREADS      reads every file from a hub's CDN in ranges and prints the seconds it took
//   server put BLOCK FILES PORT THREADS      sends every file to an s3 in parts and prints the seconds it took
//
// BLOCK is a file; FILES has a line a file: PATH SIZE SHIFT lfs|git HASH, byte k of it being BLOCK[(SHIFT + k) % size].
// MIBS caps what all connections move together, in MiB/s; 0: no cap. Servers print their port. It checks no checksum.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using std::string;
using std::to_string;
using Clock = std::chrono::steady_clock;

constexpr int64_t MIB = 1 << 20, CHUNK = MIB, KEPT_AT_MOST = 4 * MIB, PART = 16 * MIB;
const string COMMIT(40, 'c'), REPO = "bench/model", DATE = "Thu, 01 Jan 2026 00:00:00 GMT";

struct File {
  string path;
  int64_t size, shift;
  bool lfs;
  string hash;
};

int block = -1;
int64_t block_size = 0;
std::vector<File> files;

// The wire all connections share: each chunk takes its turn at the rate.
class Wire {
 public:
  explicit Wire(int64_t mib_a_second) : mib_a_second_(mib_a_second) {}
  void take(int64_t bytes) {
    if (!mib_a_second_) return;
    std::unique_lock lock(mutex_);
    free_ = std::max(free_, Clock::now()) + std::chrono::nanoseconds(bytes * 1'000'000'000 / (mib_a_second_ * MIB));
    auto mine = free_;
    lock.unlock();
    std::this_thread::sleep_until(mine);
  }

 private:
  int64_t mib_a_second_;
  std::mutex mutex_;
  Clock::time_point free_{};
};

std::unique_ptr<Wire> wire;
std::atomic<int64_t> received{0};

struct Gone {};  // the other side ended the connection

struct Request {
  string method, path;
  std::map<string, string> query, headers;
  string header(const string& name) const {
    auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
  int64_t length() const { return headers.contains("content-length") ? stoll(header("content-length")) : 0; }
};

string decoded(const string& text) {
  string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {
    int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  ~Connection() { close(fd_); }
  Connection(const Connection&) = delete;

  string head() {
    size_t end;
    while ((end = in_.find("\r\n\r\n")) == string::npos) fill();
    string found = in_.substr(0, end + 2);
    in_.erase(0, end + 4);
    return found;
  }

  string body(int64_t length) {
    while (static_cast<int64_t>(in_.size()) < length) fill();
    string found = in_.substr(0, length);
    in_.erase(0, length);
    return found;
  }

  void discard(int64_t length, std::atomic<int64_t>& count) {
    int64_t held = std::min<int64_t>(length, in_.size());
    in_.erase(0, held);
    count += held;
    for (length -= held; length > 0;) {
      ssize_t got = recv(fd_, nullptr, std::min(length, CHUNK), MSG_TRUNC);
      if (got <= 0) throw Gone{};
      length -= got;
      count += got;
      if (wire) wire->take(got);
    }
  }

  void say(const string& text, bool more = false) {
    for (size_t done = 0; done < text.size();) {
      ssize_t sent = send(fd_, text.data() + done, text.size() - done, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
      if (sent <= 0) throw Gone{};
      done += sent;
    }
  }

  void content(int64_t from, int64_t length) {
    while (length > 0) {
      off_t place = from % block_size;
      int64_t count = std::min({length, CHUNK, block_size - place});
      if (wire) wire->take(count);
      ssize_t sent = sendfile(fd_, block, &place, count);
      if (sent <= 0) throw Gone{};
      from += sent;
      length -= sent;
    }
  }

 private:
  void fill() {
    char buffer[65536];
    ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
    if (got <= 0) throw Gone{};
    in_.append(buffer, got);
  }

  int fd_;
  string in_;
};

Request parsed(const string& head) {
  Request request;
  std::istringstream lines(head);
  string line, target;
  std::getline(lines, line);
  std::istringstream(line) >> request.method >> target;
  size_t mark = target.find('?');
  request.path = decoded(target.substr(0, mark));
  if (mark != string::npos) {
    std::istringstream fields(target.substr(mark + 1));
    for (string field; std::getline(fields, field, '&');) {
      size_t equals = field.find('=');
      request.query[field.substr(0, equals)] = equals == string::npos ? "" : decoded(field.substr(equals + 1));
    }
  }
  while (std::getline(lines, line)) {
    size_t colon = line.find(':');
    if (colon == string::npos) continue;
    string name = line.substr(0, colon);
    for (char& c : name) c = static_cast<char>(tolower(c));
    size_t begin = line.find_first_not_of(' ', colon + 1), end = line.find_last_not_of(" \r");
    request.headers[name] = begin == string::npos || end < begin ? "" : line.substr(begin, end - begin + 1);
  }
  return request;
}

void answer(Connection& to, const string& status, const string& headers, const string& body, bool head_only = false) {
  to.say("HTTP/1.1 " + status + "\r\n" + headers + "Content-Length: " + to_string(body.size()) + "\r\n\r\n" +
         (head_only ? "" : body));
}

// The range that is asked for, or everything; `body` writes that many bytes from there.
template <class Body>
void send_span(Connection& to, const Request& request, int64_t size, const string& headers, Body body) {
  int64_t from = 0, until = size - 1;
  string range = request.header("range");
  bool partial = range.starts_with("bytes=");
  if (partial) {
    from = stoll(range.substr(6));
    string last = range.substr(range.find('-') + 1);
    if (!last.empty()) until = std::min<int64_t>(until, stoll(last));
  }
  string told = "Content-Length: " + to_string(until - from + 1) + "\r\nAccept-Ranges: bytes\r\nLast-Modified: " + DATE + "\r\n";
  if (partial) told += "Content-Range: bytes " + to_string(from) + "-" + to_string(until) + "/" + to_string(size) + "\r\n";
  bool wanted = request.method == "GET";
  to.say((partial ? "HTTP/1.1 206 Partial Content\r\n" : "HTTP/1.1 200 OK\r\n") + headers + told + "\r\n", wanted);
  if (wanted) body(from, until - from + 1);
}

void send_content(Connection& to, const Request& request, int64_t size, int64_t shift, const string& headers) {
  send_span(to, request, size, headers, [&](int64_t from, int64_t count) { to.content(shift + from, count); });
}

const File* file_at_end_of(const string& path) {
  for (const File& file : files)
    if (path.ends_with("/" + file.path)) return &file;
  return nullptr;
}

class Hub {
 public:
  int port = 0;

  void serve(Connection& to, const Request& request) {
    const string json = "Content-Type: application/json\r\n";
    const string api = "/api/models/" + REPO;
    if (request.path.starts_with(api + "/tree/")) return answer(to, "200 OK", json, tree());
    if (request.path.starts_with(api)) return answer(to, "200 OK", json, description());
    const File* file = file_at_end_of(request.path);
    if (!file) return answer(to, "404 Not Found", "X-Error-Code: EntryNotFound\r\n", "");
    string quoted = "\"" + file->hash + "\"";
    if (request.path.starts_with("/cdn/"))
      return send_content(to, request, file->size, file->shift, "ETag: " + quoted + "\r\n");
    string headers = "X-Repo-Commit: " + COMMIT + "\r\n";
    if (!file->lfs) return send_content(to, request, file->size, file->shift, headers + "ETag: " + quoted + "\r\n");
    answer(to, "302 Found",
           headers + "X-Linked-Etag: " + quoted + "\r\nX-Linked-Size: " + to_string(file->size) +
               "\r\nLocation: http://127.0.0.2:" + to_string(port) + "/cdn/" + file->path + "\r\n",
           "", request.method == "HEAD");
  }

 private:
  static string lfs(const File& file, const string& key) {
    return file.lfs ? ",\"lfs\":{\"" + key + "\":\"" + file.hash + "\",\"size\":" + to_string(file.size) + ",\"pointerSize\":135}" : "";
  }

  static string tree() {
    string out;
    for (const File& file : files)
      out += (out.empty() ? "" : ",") + ("{\"type\":\"file\",\"path\":\"" + file.path) + "\",\"size\":" + to_string(file.size) +
             ",\"oid\":\"" + file.hash.substr(0, 40) + "\"" + lfs(file, "oid") + "}";
    return "[" + out + "]";
  }

  static string description() {
    string out;
    for (const File& file : files)
      out += (out.empty() ? "" : ",") + ("{\"rfilename\":\"" + file.path) + "\",\"size\":" + to_string(file.size) + ",\"blobId\":\"" +
             file.hash.substr(0, 40) + "\"" + lfs(file, "sha256") + "}";
    return "{\"_id\":\"1\",\"id\":\"" + REPO + "\",\"modelId\":\"" + REPO + "\",\"sha\":\"" + COMMIT +
           "\",\"private\":false,\"gated\":false,\"disabled\":false,\"tags\":[],\"downloads\":0,\"likes\":0,"
           "\"lastModified\":\"2026-01-01T00:00:00.000Z\",\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"siblings\":[" +
           out + "]}";
  }
};

struct Part {
  int64_t size;
  string etag, crc;
};

struct Upload {
  string name;  // /BUCKET/KEY
  std::map<int, Part> parts;
};

struct Object {
  int64_t size;
  string etag, crc;
  std::shared_ptr<string> body;  // small ones alone
};

class S3 {
 public:
  void serve(Connection& to, const Request& request) {
    if (request.path == "/received") return answer(to, "200 OK", "", to_string(received.load()));
    bool is_part = request.method == "PUT" && request.query.contains("partNumber");
    int64_t length = request.length();
    string body;
    if (length && request.header("expect") == "100-continue") to.say("HTTP/1.1 100 Continue\r\n\r\n");
    if (is_part || length > KEPT_AT_MOST)
      to.discard(length, received);
    else
      body = to.body(length);
    std::unique_lock lock(mutex_);
    if (is_part) return put_part(to, request);
    if (request.method == "PUT") return put(to, request, body);
    if (request.method == "POST") return post(to, request);
    if (request.method == "DELETE") return remove(to, request);
    if (request.method == "GET" && (is_bucket(request.path) || request.query.contains("uploadId"))) return list(to, request);
    auto found = objects_.find(request.path);
    if (is_bucket(request.path)) return answer(to, "200 OK", "", "", true);
    if (found == objects_.end()) return refuse(to, request, "404 Not Found", "NoSuchKey");
    Object object = found->second;
    lock.unlock();
    get(to, request, object);
  }

 private:
  static bool is_bucket(const string& path) { return path.find('/', 1) == string::npos || path.find('/', 1) + 1 == path.size(); }

  static int64_t size_of(const Request& request) {
    string inner = request.header("x-amz-decoded-content-length");
    return inner.empty() ? request.length() : stoll(inner);
  }

  static string described(const string& etag, const string& crc) {
    string found = "ETag: \"" + etag + "\"\r\n";
    return crc.empty() ? found : found + "x-amz-checksum-crc64nvme: " + crc + "\r\nx-amz-checksum-type: FULL_OBJECT\r\n";
  }

  static void xml(Connection& to, const string& root, const string& inner) {
    answer(to, "200 OK", "Content-Type: application/xml\r\n",
           "<?xml version=\"1.0\"?><" + root + " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" + inner + "</" + root + ">");
  }

  static void refuse(Connection& to, const Request& request, const string& status, const string& code) {
    answer(to, status, "Content-Type: application/xml\r\n", "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code></Error>",
           request.method == "HEAD");
  }

  static void get(Connection& to, const Request& request, const Object& object) {
    string headers = described(object.etag, object.crc) + "Content-Type: binary/octet-stream\r\n";
    if (object.body)
      return send_span(to, request, object.size, headers, [&](int64_t from, int64_t count) { to.say(object.body->substr(from, count)); });
    const File* file = file_at_end_of(request.path);
    send_content(to, request, object.size, file ? file->shift : 0, headers);
  }

  bool taken(Connection& to, const Request& request) {
    if (request.header("if-none-match") != "*" || !objects_.contains(request.path)) return false;
    refuse(to, request, "412 Precondition Failed", "PreconditionFailed");
    return true;
  }

  void put(Connection& to, const Request& request, const string& body) {
    if (is_bucket(request.path)) return answer(to, "200 OK", "", "");
    if (taken(to, request)) return;
    bool kept = request.length() <= KEPT_AT_MOST;
    Object object{size_of(request), to_string(++last_), request.header("x-amz-checksum-crc64nvme"),
                  kept ? std::make_shared<string>(body) : nullptr};
    objects_[request.path] = object;
    answer(to, "200 OK", described(object.etag, object.crc), "");
  }

  void put_part(Connection& to, const Request& request) {
    auto upload = uploads_.find(request.query.at("uploadId"));
    if (upload == uploads_.end()) return refuse(to, request, "404 Not Found", "NoSuchUpload");
    Part part{size_of(request), to_string(++last_), request.header("x-amz-checksum-crc64nvme")};
    upload->second.parts[stoi(request.query.at("partNumber"))] = part;
    string crc = part.crc.empty() ? "" : "x-amz-checksum-crc64nvme: " + part.crc + "\r\n";
    answer(to, "200 OK", "ETag: \"" + part.etag + "\"\r\n" + crc, "");
  }

  void post(Connection& to, const Request& request) {
    if (request.query.contains("uploads")) {
      string id = "upload" + to_string(++last_);
      uploads_[id] = Upload{request.path, {}};
      return xml(to, "InitiateMultipartUploadResult", "<UploadId>" + id + "</UploadId>");
    }
    auto upload = uploads_.find(request.query.contains("uploadId") ? request.query.at("uploadId") : "");
    if (upload == uploads_.end()) return refuse(to, request, "404 Not Found", "NoSuchUpload");
    if (taken(to, request)) return;
    Object object{0, to_string(++last_) + "-1", request.header("x-amz-checksum-crc64nvme"), nullptr};
    for (const auto& [number, part] : upload->second.parts) object.size += part.size;
    objects_[request.path] = object;
    uploads_.erase(upload);
    xml(to, "CompleteMultipartUploadResult", "<ETag>\"" + object.etag + "\"</ETag>");
  }

  void remove(Connection& to, const Request& request) {
    if (request.query.contains("uploadId"))
      uploads_.erase(request.query.at("uploadId"));
    else
      objects_.erase(request.path);
    to.say("HTTP/1.1 204 No Content\r\n\r\n");
  }

  void list(Connection& to, const Request& request) {
    string out = "<IsTruncated>false</IsTruncated>", bucket = request.path.substr(0, request.path.find('/', 1)) + "/";
    string wanted = bucket + (request.query.contains("prefix") ? request.query.at("prefix") : "");
    if (request.query.contains("uploadId")) {
      auto upload = uploads_.find(request.query.at("uploadId"));
      if (upload == uploads_.end()) return refuse(to, request, "404 Not Found", "NoSuchUpload");
      for (const auto& [number, part] : upload->second.parts)
        out += "<Part><PartNumber>" + to_string(number) + "</PartNumber><Size>" + to_string(part.size) + "</Size><ETag>\"" + part.etag +
               "\"</ETag><ChecksumCRC64NVME>" + part.crc + "</ChecksumCRC64NVME></Part>";
      return xml(to, "ListPartsResult", out);
    }
    if (request.query.contains("uploads")) {
      for (const auto& [id, upload] : uploads_)
        if (upload.name.starts_with(wanted))
          out += "<Upload><Key>" + upload.name.substr(bucket.size()) + "</Key><UploadId>" + id + "</UploadId></Upload>";
      return xml(to, "ListMultipartUploadsResult", out);
    }
    if (request.query.contains("location")) return xml(to, "LocationConstraint", "");
    for (auto found = objects_.lower_bound(wanted); found != objects_.end() && found->first.starts_with(wanted); ++found)
      out += "<Contents><Key>" + found->first.substr(bucket.size()) + "</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"" +
             found->second.etag + "\"</ETag><Size>" + to_string(found->second.size) + "</Size><StorageClass>STANDARD</StorageClass></Contents>";
    xml(to, "ListBucketResult", out);
  }

  std::mutex mutex_;
  int64_t last_ = 0;
  std::map<string, Upload> uploads_;
  std::map<string, Object> objects_;
};

int bound_socket(const char* host, int port) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port)), .sin_addr = {}, .sin_zero = {}};
  inet_pton(AF_INET, host, &address.sin_addr);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) || listen(listener, 1024)) return -1;
  return listener;
}

int port_of(int listener) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

template <class Role>
void accept_all(int listener, Role& role) {
  for (int fd; (fd = accept(listener, nullptr, nullptr)) >= 0;)
    std::thread([fd, &role] {
      Connection connection(fd);
      try {
        for (;;) role.serve(connection, parsed(connection.head()));
      } catch (const Gone&) {
      }
    }).detach();
}

template <class Client>
int measure(int threads, Client client) {
  std::vector<std::pair<const File*, int64_t>> parts;
  for (const File& file : files)
    for (int64_t from = 0; from < file.size; from += PART) parts.emplace_back(&file, from);
  std::atomic<size_t> next{0};
  auto began = Clock::now();
  std::vector<std::thread> running;
  for (int n = 0; n < threads; n++)
    running.emplace_back([&] {
      for (size_t i; (i = next++) < parts.size();)
        client(*parts[i].first, parts[i].second, std::min(PART, parts[i].first->size - parts[i].second));
    });
  for (std::thread& thread : running) thread.join();
  printf("%.6f\n", std::chrono::duration<double>(Clock::now() - began).count());
  return 0;
}

std::unique_ptr<Connection> connected(const char* host, int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port)), .sin_addr = {}, .sin_zero = {}};
  inet_pton(AF_INET, host, &address.sin_addr);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address)) throw Gone{};
  return std::make_unique<Connection>(fd);
}

int get_all(int port, int threads) {
  return measure(threads, [port](const File& file, int64_t from, int64_t count) {
    thread_local auto connection = connected("127.0.0.2", port);
    connection->say("GET /cdn/" + file.path + " HTTP/1.1\r\nRange: bytes=" + to_string(from) + "-" + to_string(from + count - 1) + "\r\n\r\n");
    connection->head();
    connection->discard(count, received);
  });
}

int put_all(int port, int threads) {
  string upload = [port] {
    auto connection = connected("127.0.0.1", port);
    connection->say("POST /ceiling/all?uploads HTTP/1.1\r\n\r\n");
    string body = connection->body(parsed(connection->head()).length());
    size_t begin = body.find("<UploadId>") + 10;
    return body.substr(begin, body.find('<', begin) - begin);
  }();
  return measure(threads, [port, &upload](const File& file, int64_t from, int64_t count) {
    thread_local auto connection = connected("127.0.0.1", port);
    connection->say("PUT /ceiling/all?partNumber=1&uploadId=" + upload + " HTTP/1.1\r\nContent-Length: " + to_string(count) + "\r\n\r\n", true);
    connection->content(file.shift + from, count);
    connection->head();
  });
}

}  // namespace

int main(int count, char** values) {
  if (count < 5) {
    fprintf(stderr, "usage: server hub|s3 BLOCK FILES MIBS, server get|put BLOCK FILES PORT THREADS\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  string role = values[1];
  block = open(values[2], O_RDONLY);
  struct stat about{};
  if (block < 0 || fstat(block, &about)) return perror(values[2]), 1;
  block_size = about.st_size;
  std::ifstream list(values[3]);
  string kind;
  for (File file; list >> file.path >> file.size >> file.shift >> kind >> file.hash; files.push_back(file)) file.lfs = kind == "lfs";
  int number = atoi(values[4]);
  if (role == "get" || role == "put") return role == "get" ? get_all(number, atoi(values[5])) : put_all(number, atoi(values[5]));
  wire = std::make_unique<Wire>(number);
  int listener = bound_socket("127.0.0.1", 0);
  if (listener < 0) return perror("bind"), 1;
  printf("%d\n", port_of(listener));
  if (role == "s3") {
    static S3 s3;
    fflush(stdout);
    accept_all(listener, s3);
    return 1;
  }
  static Hub hub;
  hub.port = port_of(listener);
  int cdn = bound_socket("127.0.0.2", hub.port);
  if (cdn < 0) return perror("bind the CDN"), 1;
  fflush(stdout);
  std::thread(accept_all<Hub>, cdn, std::ref(hub)).detach();
  accept_all(listener, hub);
  return 1;
}
