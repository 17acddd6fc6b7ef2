// Reads a file of any length once, keeps its state, and asks two questions about it: long_file MODEL FILE STATE
#include <fstream>
#include <iostream>
#include <natrix/natrix.h>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: long_file MODEL FILE STATE\n";
    return 2;
  }
  try {
    natrix::TextSession book = natrix::open(argv[1]).session();
    std::ifstream file(argv[2], std::ios::binary);
    std::string piece(1 << 16, '\0');
    while (file.read(piece.data(), std::ssize(piece)), file.gcount() > 0)
      book.read({piece.data(), static_cast<size_t>(file.gcount())});
    book.save(argv[3]);  // later: session().load(STATE) in place of reading
    for (const char* question : {"\nWho speaks first? ", "\nHow does it end? "}) {
      natrix::TextSession fork = book.fork();  // the book itself stays as it was read
      fork.read(question);
      std::cout << question << fork.generate({.tokens = 40, .temp = 0}) << '\n';
    }
  } catch (const natrix::Error& e) {
    std::cerr << e.what() << '\n';
    return e.exit_status();
  }
}
