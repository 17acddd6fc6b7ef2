// Writing when the disk does not play along: the error names the file and the reason, and nothing
// half-written stays.
#include "core/files/atomic_file.h"

#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/files/safetensors.h"
#include "kernels/base/buffer.h"
#include "tests/core/io_helpers.h"

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

TEST(AtomicFile, WhatLiesBesideItStays) {
  const ScratchDir dir;
  test::write_file(dir / "other", "precious");
  std::filesystem::create_symlink("other", dir / "a.tmp");
  std::filesystem::create_directory(dir / "b.tmp");
  write_file(dir / "a", "whole");
  write_file(dir / "b", "whole");
  EXPECT_EQ(test::read_file(dir / "a"), "whole");
  EXPECT_EQ(test::read_file(dir / "other"), "precious");
  EXPECT_EQ(test::entries_in(dir.path()), 5);
}

TEST(AtomicFile, AKilledWriterLeavesNothing) {
  const ScratchDir dir;
  write_file(dir / "a", "old");
  const int nameless = open(dir.path().c_str(), O_TMPFILE | O_RDWR, 0600);
  if (nameless < 0) GTEST_SKIP() << "this file system has no files without names";
  close(nameless);
  const int status = test::status_of_child([&] {
    AtomicFile file(dir / "a");
    file.reserve(100);
    file.write_at(0, "new", 3);
    raise(SIGKILL);
    return 0;
  });
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_EQ(test::read_file(dir / "a"), "old");
  EXPECT_EQ(test::entries_in(dir.path()), 1);
}

TEST(AtomicFile, OfTwoWritersTheLastWinsWhole) {
  const ScratchDir dir;
  AtomicFile first(dir / "a"), second(dir / "a");
  second.write_at(0, "second", 6);
  first.write_at(0, "first", 5);
  first.commit();
  EXPECT_EQ(test::read_file(dir / "a"), "first");
  second.commit();
  EXPECT_EQ(test::read_file(dir / "a"), "second");
  EXPECT_EQ(test::entries_in(dir.path()), 1);
}

TEST(AtomicFile, KeepsModeAndOwnerAndBreaksHardLinks) {
  const ScratchDir dir;
  write_file(dir / "a", "old");
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(chown((dir / "a").c_str(), 1234, 4321), 0);
  }
  chmod((dir / "a").c_str(), 0640);
  std::filesystem::create_hard_link(dir / "a", dir / "b");
  write_file(dir / "a", "new");
  struct stat now = {};
  ASSERT_EQ(stat((dir / "a").c_str(), &now), 0);
  EXPECT_EQ(now.st_mode & 07777, 0640u);
  EXPECT_EQ(now.st_uid, root ? 1234 : geteuid());
  EXPECT_EQ(now.st_gid, root ? 4321 : getegid());
  EXPECT_EQ(test::read_file(dir / "b"), "old");
}

TEST(AtomicFile, TakesTheLongestName) {
  const ScratchDir dir;
  const std::string longest(255, 'n');
  write_file(dir / longest, "text");
  EXPECT_EQ(test::read_file(dir / longest), "text");
  EXPECT_TRUE(mentions(message_of<OutputPathError>([&] { write_file(dir / (longest + "n"), "text"); }),
                       "name too long"));
}

/// Where files without names cannot be named, or are not to be had: the same result by another way.
TEST(AtomicFile, NeedsNoFilesWithoutNames) {
  const ScratchDir dir;
  if (geteuid() != 0) GTEST_SKIP() << "only root may hide /proc";
  const std::string longest(255, 'n');
  write_file(dir / longest, "old");
  chmod((dir / longest).c_str(), 0604);
  const int status = test::status_of_child([&] {
    AtomicFile begun(dir / "begun");
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        umount2("/proc", MNT_DETACH) != 0) {
      return 1;
    }
    begun.write_at(0, "begun", 5);
    begun.commit();
    AtomicFile named(dir / longest);
    if (test::entries_in(dir.path()) != 3) return 2;  // the name aside
    named.write_at(0, "new", 3);
    named.commit();
    { AtomicFile given_up(dir / "none"); }
    return 0;
  });
  if (WEXITSTATUS(status) == 1) GTEST_SKIP() << "may not hide /proc";
  EXPECT_EQ(status, 0);
  EXPECT_EQ(test::read_file(dir / "begun"), "begun");
  EXPECT_EQ(test::read_file(dir / longest), "new");
  struct stat now = {};
  stat((dir / longest).c_str(), &now);
  EXPECT_EQ(now.st_mode & 07777, 0604u);
  EXPECT_EQ(test::entries_in(dir.path()), 2);
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
  const ScratchDir dir;
  chmod(dir.path().c_str(), 0555);
  const int status = test::status_of_child([&] {
    if (geteuid() == 0 && seteuid(65534) != 0) return 1;
    return mentions(message_of<OutputPathError>([&] { write_file(dir / "a", "text"); }), "Permission denied")
               ? 0
               : 2;
  });
  EXPECT_EQ(status, 0);
  chmod(dir.path().c_str(), 0700);
}

}  // namespace
}  // namespace natrix
