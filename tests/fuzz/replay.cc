// Runs a fuzz target without libFuzzer: every file of its corpora, then so many mutations of them, always the same
// ones: what a fast machine finds a slow one finds too. An input that crashes or takes far too long is left in a file.
//   TARGET MUTATIONS CORPUS...
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <vector>

#include "fuzz/fuzz.h"

namespace {

constexpr unsigned kMaxSecondsPerInput = 100;  // of a clock that runs on while others compute
constexpr size_t kMaxBytes = 1 << 16;          // of a mutated input

std::string current;
constexpr char kReproducer[] = "fuzz-reproducer";

// Only what a signal handler may call.
void SaveCurrent(int signal) {
  const int fd = ::open(kReproducer, O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (fd >= 0 && ::write(fd, current.data(), current.size()) >= 0) {
    constexpr char kSaid[] = "the input is in ./fuzz-reproducer\n";
    (void)!::write(2, kSaid, sizeof kSaid - 1);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal == SIGALRM ? SIGABRT : signal);
}

void Run(std::string input) {
  current = std::move(input);
  ::alarm(kMaxSecondsPerInput);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
  ::alarm(0);
}

std::string Mutated(const std::vector<std::string>& corpus, std::mt19937& random) {
  const auto pick = [&](size_t below) { return below == 0 ? 0 : random() % below; };
  std::string input = corpus[pick(corpus.size())];
  for (size_t n = 1 + pick(4); n > 0; --n) {
    const size_t at = pick(input.size() + 1);
    switch (pick(6)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 1:
        input.erase(at, 1 + pick(32));
        break;
      case 2:
        input.insert(at, 1 + pick(8), static_cast<char>(random()));
        break;
      case 3:  // again what stands here
        input.insert(at, input.substr(at, 1 + pick(64)));
        break;
      case 4: {  // a piece of another one
        const std::string& other = corpus[pick(corpus.size())];
        input.insert(at, other.substr(pick(other.size() + 1), 1 + pick(64)));
        break;
      }
      default:  // a digit more or less
        for (size_t i = at; i < input.size(); ++i) {
          if (input[i] < '0' || input[i] > '9') continue;
          input.replace(i, 1, std::to_string(random()));
          break;
        }
    }
  }
  input.resize(std::min(input.size(), kMaxBytes));
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s MUTATIONS CORPUS...\n", argv[0]);
    return 2;
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) std::signal(signal, SaveCurrent);
  std::vector<std::filesystem::path> files;
  for (int i = 2; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> corpus;
  for (const auto& file : files) {
    const absl::StatusOr<std::string> text = tandem::ReadFile(file.string());
    CHECK(text.ok()) << text.status().ToString();
    corpus.push_back(*text);
    Run(*text);
  }
  CHECK(!corpus.empty()) << argv[2] << " holds no file";

  const int mutations = std::atoi(argv[1]);
  std::mt19937 random(1);
  for (int i = 0; i < mutations; ++i) Run(Mutated(corpus, random));
  std::printf("%zu files, %d mutations\n", corpus.size(), mutations);
  return 0;
}
