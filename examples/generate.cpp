// Continues a text: generate MODEL "In the beginning"
#include <iostream>
#include <natrix/natrix.h>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: generate MODEL TEXT\n";
    return 2;
  }
  try {
    const natrix::LanguageModel model = natrix::open(argv[1]);
    natrix::TextSession text = model.session();
    text.read(argv[2]);
    text.generate({.tokens = 200}, [](std::string_view piece) { std::cout << piece << std::flush; });
    std::cout << '\n';
  } catch (const natrix::Error& e) {
    std::cerr << e.what() << '\n';
    return e.exit_status();
  }
}
