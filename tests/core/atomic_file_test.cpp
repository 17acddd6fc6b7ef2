// Writing when the disk does not play along: the error names the file and the reason, and nothing
// half-written stays.
#include "core/io/atomic_file.h"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/io/safetensors.h"
#include "io_helpers.h"
#include "kernels/base/buffer.h"

namespace natrix {
namespace {

using test::mentions;
using test::message_of;
using test::ScratchDir;

/// Files may not grow beyond `bytes` while it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

/// A file system of 64 KiB, where the process may mount one.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& at) : at_(at) {
    std::filesystem::create_directory(at);
    mounted_ = mount("tmpfs", at.c_str(), "tmpfs", 0, "size=64k") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(at_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  void make_read_only() { mount("tmpfs", at_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=64k"); }

 private:
  std::string at_;
  bool mounted_ = false;
};

TEST(AtomicFile, ReplacesAndLeavesNothingElse) {
  const ScratchDir dir;
  write_file(dir / "a", "first");
  write_file(dir / "a", "second");
  EXPECT_EQ(test::read_file(dir / "a"), "second");
  EXPECT_EQ(test::entries_in(dir.path()), 1);
}

TEST(AtomicFile, OverwritesWhatAKilledWriterLeft) {
  const ScratchDir dir;
  test::write_file(dir / "a.tmp", "a much longer half-written file");
  write_file(dir / "a", "whole");
  EXPECT_EQ(test::read_file(dir / "a"), "whole");
  EXPECT_EQ(test::entries_in(dir.path()), 1);
}

TEST(AtomicFile, WithoutCommitTheOldFileStays) {
  const ScratchDir dir;
  write_file(dir / "a", "old");
  {
    AtomicFile file(dir / "a");
    file.write_at(0, "new", 3);
  }
  EXPECT_EQ(test::read_file(dir / "a"), "old");
  EXPECT_EQ(test::entries_in(dir.path()), 1);
}

TEST(AtomicFile, NamesAMissingDirectory) {
  const ScratchDir dir;
  const std::string message = message_of<RunError>([&] { write_file(dir / "none/a", "text"); });
  EXPECT_TRUE(mentions(message, dir / "none/a"));
  EXPECT_TRUE(mentions(message, "No such file"));
}

TEST(AtomicFile, ADirectoryUnderTheNameStays) {
  const ScratchDir dir;
  std::filesystem::create_directory(dir / "a");
  EXPECT_TRUE(mentions(message_of<RunError>([&] { write_file(dir / "a", "text"); }), dir / "a"));
  EXPECT_EQ(test::entries_in(dir.path()), 1);
}

TEST(AtomicFile, AFileSizeLimitIsAnError) {
  const ScratchDir dir;
  write_file(dir / "a", "old");
  const Buffer large(Dtype::kU8, {100'000});
  {
    const FileSizeLimit limit(50'000);
    EXPECT_TRUE(mentions(message_of<RunError>([&] {
                           write_safetensors(dir / "a", {{"x", large.view()}});
                         }),
                         "File too large"));
    EXPECT_TRUE(mentions(message_of<RunError>([&] { write_file(dir / "a", std::string(100'000, 'x')); }),
                         "File too large"));
  }
  EXPECT_EQ(test::read_file(dir / "a"), "old");
  EXPECT_EQ(test::entries_in(dir.path()), 1);
}

TEST(AtomicFile, AFullDiskIsAnError) {
  const ScratchDir dir;
  const std::string disk = dir / "disk";
  const SmallDisk small(disk);
  if (!small.mounted()) GTEST_SKIP() << "may not mount a file system";
  const Buffer large(Dtype::kU8, {100'000});
  const std::string path = disk + "/a.safetensors";
  // The whole size is reserved, so it fails before the first row.
  const std::string streamed = message_of<RunError>([&] {
    SafetensorsWriter w(path, {{"x", Dtype::kU8, {100'000}}});
  });
  const std::string whole = message_of<RunError>([&] { write_safetensors(path, {{"x", large.view()}}); });
  const std::string text = message_of<RunError>([&] { write_file(path, std::string(100'000, 'x')); });
  for (const std::string& message : {streamed, whole, text}) {
    EXPECT_TRUE(mentions(message, path));
    EXPECT_TRUE(mentions(message, "No space left"));
  }
  EXPECT_EQ(test::entries_in(disk), 0);
  write_file(path, "the disk can be used again");
}

TEST(AtomicFile, AReadOnlyDiskIsAnError) {
  const ScratchDir dir;
  const std::string disk = dir / "disk";
  SmallDisk small(disk);
  if (!small.mounted()) GTEST_SKIP() << "may not mount a file system";
  write_file(disk + "/a", "old");
  small.make_read_only();
  const std::string message = message_of<RunError>([&] { write_file(disk + "/a", "new"); });
  EXPECT_TRUE(mentions(message, disk + "/a"));
  EXPECT_TRUE(mentions(message, "Read-only file system"));
  EXPECT_EQ(test::read_file(disk + "/a"), "old");
}

TEST(AtomicFile, AReadOnlyDirectoryIsAnError) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const ScratchDir dir;
  chmod(dir.path().c_str(), 0500);
  EXPECT_TRUE(mentions(message_of<RunError>([&] { write_file(dir / "a", "text"); }), "Permission denied"));
  chmod(dir.path().c_str(), 0700);
}

}  // namespace
}  // namespace natrix
