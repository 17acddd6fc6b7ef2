// Outputs that are not plain files: links are followed, pipes and devices written into, the rest refused.
// Devices are nodes of our own: never the system's.
#include "core/files/output_path.h"

#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/files/atomic_file.h"
#include "tests/core/io_helpers.h"
#include "tests/pipe_reader.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;
using test::mentions;
using test::message_of;
using test::PipeReader;
using test::ScratchDir;

std::string refusal(const std::string& path) {
  return message_of<InputError>([&] { static_cast<void>(check_output("--out", path)); });
}

/// A device node of our own that can be opened; false where this machine does not let us.
bool make_device(const std::string& path, mode_t kind, unsigned major, unsigned minor) {
  return mknod(path.c_str(), kind | 0666, makedev(major, minor)) == 0;
}

bool is_device(const std::string& path) {
  return fs::is_character_file(fs::symlink_status(path));
}

TEST(OutputPath, LinksAreFollowedAndStay) {
  const ScratchDir dir;
  fs::create_directory(dir / "big");
  test::write_file(dir / "big/old", "old");
  fs::create_symlink("big/old", dir / "relative");
  fs::create_symlink(dir / "big/old", dir / "absolute");
  fs::create_symlink("absolute", dir / "chain");
  fs::create_symlink("../relative", dir / "big/back");
  fs::create_symlink("big/new", dir / "to_nothing_yet");
  fs::create_directory_symlink("big", dir / "folder");
  const std::pair<const char*, const char*> cases[] = {
      {"relative", "big/old"}, {"absolute", "big/old"},       {"chain", "big/old"},
      {"big/back", "big/old"}, {"to_nothing_yet", "big/new"}, {"folder/other", "big/other"}};
  for (const auto& [link, target] : cases) {
    EXPECT_NO_THROW(static_cast<void>(check_output("--out", dir / link)));
    const auto before = fs::symlink_status(dir / link).type();
    write_file(dir / link, link);
    if (before == fs::file_type::symlink) {
      EXPECT_TRUE(fs::is_symlink(dir / link)) << link;
    }
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(dir / target)));
    EXPECT_EQ(test::read_file(dir / target), link);
  }
  EXPECT_EQ(test::entries_in(dir / "big"), 4);
  EXPECT_EQ(test::entries_in(dir.path()), 6);
}

TEST(OutputPath, WhatCannotBeWrittenIsNamedAndNothingIsLeft) {
  const ScratchDir dir;
  fs::create_directory(dir / "folder");
  test::write_file(dir / "file", "old");
  fs::create_symlink("folder", dir / "to_folder");
  fs::create_symlink("gone/a", dir / "to_gone");
  fs::create_symlink("loop2", dir / "loop1");
  fs::create_symlink("loop1", dir / "loop2");
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  (dir / "socket").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  fs::create_symlink("socket", dir / "to_socket");
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"folder", {"it is a directory", "name a file in it"}},
      {"folder/", {"it is a directory"}},
      {"to_folder", {"it is a directory"}},
      {".", {"it is a directory"}},
      {"new/", {"new"}},
      {"gone/a", {"No such file or directory", "/gone;", "make that directory first"}},
      {"file/a", {"/file is not a directory"}},
      {"to_gone", {"it is a link to", "/gone/a", "make that directory first"}},
      {"loop1", {"a loop of symbolic links"}},
      {"loop1/a", {"loop"}},
      {"socket", {"it is a socket", "another path"}},
      {"to_socket", {"it is a link to", "which is a socket"}}};
  const int64_t before = test::entries_in(dir.path());
  for (const auto& [name, parts] : cases) {
    const std::string message = refusal(dir / name);
    EXPECT_TRUE(mentions(message, "--out: cannot write " + dir / name));
    for (const std::string& part : parts) EXPECT_TRUE(mentions(message, part));
    EXPECT_FALSE(message_of<RunError>([&] { write_file(dir / name, "new"); }).empty());
  }
  EXPECT_TRUE(mentions(refusal(""), "empty"));
  EXPECT_EQ(test::entries_in(dir.path()), before);
  EXPECT_EQ(test::entries_in(dir / "folder"), 0);
  EXPECT_EQ(test::read_file(dir / "file"), "old");
  close(listener);
}

TEST(OutputPath, ACheckLeavesNothingAndTheOldFileAsItWas) {
  const ScratchDir dir;
  test::write_file(dir / "old", "old");
  { const auto held = check_output("--out", dir / "old"); }
  {
    const auto held = check_output("--out", dir / "new");
    EXPECT_LE(test::entries_in(dir.path()), 2);
  }
  EXPECT_EQ(test::read_file(dir / "old"), "old");
  EXPECT_EQ(test::entries_in(dir.path()), 1);
}

TEST(OutputPath, ADeviceIsWrittenInto) {
  const ScratchDir dir;
  if (!make_device(dir / "null", S_IFCHR, 1, 3) || !make_device(dir / "full", S_IFCHR, 1, 7)) {
    GTEST_SKIP() << "only root makes devices";
  }
  if (access((dir / "null").c_str(), W_OK) != 0) GTEST_SKIP() << "this disk has no devices";
  fs::create_symlink("null", dir / "link");
  for (const char* name : {"null", "link"}) {
    AtomicFile file(dir / name);
    file.reserve(100);
    file.write_at(50, "text", 4);
    file.commit();
  }
  const std::string message = message_of<RunError>([&] { write_file(dir / "full", "text"); });
  EXPECT_TRUE(mentions(message, dir / "full"));
  EXPECT_TRUE(mentions(message, "No space left"));
  EXPECT_TRUE(is_device(dir / "null"));
  EXPECT_TRUE(is_device(dir / "full"));
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(test::entries_in(dir.path()), 3);
  ASSERT_TRUE(make_device(dir / "block", S_IFBLK, 7, 250));
  EXPECT_TRUE(mentions(refusal(dir / "block"), "it is a block device"));
  EXPECT_TRUE(fs::is_block_file(dir / "block"));
}

TEST(OutputPath, AMountPointAndAnImmutableFileAreRefusedBeforeTheWork) {
  const ScratchDir dir;
  test::write_file(dir / "a", "old");
  if (mount((dir / "a").c_str(), (dir / "a").c_str(), nullptr, MS_BIND, nullptr) == 0) {
    EXPECT_TRUE(mentions(refusal(dir / "a"), "a mount point"));
    umount2((dir / "a").c_str(), MNT_DETACH);
  }
  const int fd = open((dir / "a").c_str(), O_RDONLY);
  int flags = 0;
  const bool known = ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
  int immutable = flags | FS_IMMUTABLE_FL;
  if (known && ioctl(fd, FS_IOC_SETFLAGS, &immutable) == 0) {
    EXPECT_TRUE(mentions(refusal(dir / "a"), "an immutable file"));
    ioctl(fd, FS_IOC_SETFLAGS, &flags);
  }
  close(fd);
  EXPECT_EQ(test::read_file(dir / "a"), "old");
  write_file(dir / "a", "new");
}

TEST(OutputPath, AnotherUsersFileInAStickyDirectoryIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be several users";
  const ScratchDir dir;
  test::write_file(dir / "a", "old");
  chmod(dir.path().c_str(), 01777);
  const int status = test::status_of_child([&] {
    if (seteuid(65534) != 0) return 1;
    return mentions(refusal(dir / "a"), "another user's file") ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

constexpr int64_t kMany = 300'000;  // more than a pipe holds

TEST(OutputPath, APipeGivesItsReaderTheWholeFileInOrder) {
  const ScratchDir dir;
  ASSERT_EQ(mkfifo((dir / "pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", dir / "link");
  for (const char* name : {"pipe", "link"}) {
    PipeReader reader(dir / "pipe");
    {
      const auto held = check_output("--out", dir / name);
      AtomicFile file(dir / name);
      file.reserve(kMany);
      file.write_at(kMany - 3, "end", 3);
      file.write_at(0, "begin", 5);
      file.commit();
    }
    const std::string text = reader.text();
    ASSERT_EQ(text.size(), static_cast<size_t>(kMany));
    EXPECT_TRUE(text.starts_with("begin") && text.ends_with("end"));
    EXPECT_TRUE(fs::is_fifo(dir / "pipe"));
  }
  EXPECT_EQ(test::entries_in(dir.path()), 2);
}

TEST(OutputPath, WithoutCommitAPipesReaderGetsNothing) {
  const ScratchDir dir;
  ASSERT_EQ(mkfifo((dir / "pipe").c_str(), 0600), 0);
  PipeReader reader(dir / "pipe");
  { AtomicFile(dir / "pipe").write_at(0, "half", 4); }
  EXPECT_EQ(reader.text(), "");
}

TEST(OutputPath, AReaderThatGoesAwayIsAnErrorAndNoSignal) {
  const ScratchDir dir;
  ASSERT_EQ(mkfifo((dir / "pipe").c_str(), 0600), 0);
  PipeReader reader(dir / "pipe", 1);
  const std::string message = message_of<RunError>([&] {
    AtomicFile file(dir / "pipe");
    file.write_at(0, std::string(static_cast<size_t>(kMany), 'x').data(), kMany);
    file.commit();
  });
  EXPECT_TRUE(mentions(message, dir / "pipe"));
  EXPECT_TRUE(mentions(message, "its reader has gone away"));
  EXPECT_TRUE(fs::is_fifo(dir / "pipe"));
}

TEST(OutputPath, WhatIsKeptForAPipeNamesItsDirectoryWhereThatFails) {
  const ScratchDir dir;
  ASSERT_EQ(mkfifo((dir / "pipe").c_str(), 0600), 0);
  PipeReader reader(dir / "pipe");
  const int status = test::status_of_child([&] {
    setenv("TMPDIR", (dir / "gone").c_str(), 1);
    const std::string message = message_of<RunError>([&] { write_file(dir / "pipe", "text"); });
    return mentions(message, "TMPDIR") && mentions(message, dir / "pipe") ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
}

TEST(OutputPath, AnOpenDescriptorIsWrittenIntoWhereItStands) {
  const ScratchDir dir;
  const int file = open((dir / "log").c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_EQ(write(file, "head ", 5), 5);
  const std::string name = "/dev/fd/" + std::to_string(file);
  fs::create_symlink(name, dir / "link");
  write_file(name, "one ");
  write_file(dir / "link", "two ");
  write_file("/proc/self/fd/" + std::to_string(file), "three ");
  ASSERT_EQ(write(file, "tail", 4), 4);
  EXPECT_EQ(test::read_file(dir / "log"), "head one two three tail");
  close(file);
  EXPECT_TRUE(mentions(refusal(name), "is not open"));

  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  write_file("/dev/fd/" + std::to_string(ends[1]), "text");
  char got[10] = {};
  EXPECT_EQ(read(ends[0], got, sizeof got), 4);
  EXPECT_TRUE(mentions(refusal("/dev/fd/" + std::to_string(ends[0])), "not open for writing"));
  EXPECT_TRUE(mentions(refusal("/proc/self/comm"), "/proc"));
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(test::entries_in(dir.path()), 2);
}

}  // namespace
}  // namespace natrix
