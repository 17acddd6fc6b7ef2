// Trains on one text. Carries the state from chunk to chunk, and its gradient back: train_chunks MODEL TEXT OUT
#include <algorithm>
#include <iostream>
#include <natrix/natrix.h>

int main(int argc, char** argv) try {
  if (argc != 4 || !*argv[2]) return std::cerr << "usage: train_chunks MODEL TEXT OUT\n", 2;
  natrix::LanguageModel model = natrix::open(argv[1], {.trainable = true});
  natrix::AdamWOptimizer optimizer(model);
  const std::vector<int64_t> ids = model.tokenize(argv[2]);
  const size_t T = ids.size() - 1, chunk = std::max<size_t>(1, T / 4);  // predictions in all, and in a chunk
  const auto run = [&](size_t first, const natrix::FloatTensors& s, const natrix::FloatTensors& ds) {
    const size_t n = std::min(chunk, T - first);
    const std::span<const int64_t> next(&ids[first + 1], n);
    return model.gradients({&ids[first], n}, {.targets = next, .divisor = 1.0 * T, .state = s, .dstate = ds});
  };
  for (int step = 1; step <= 20; ++step) {
    std::vector<natrix::FloatTensors> states(1);  // before each chunk; zero before the first
    for (size_t t = 0; t + chunk < T; t += chunk) states.push_back(run(t, states.back(), {}).state);
    natrix::Gradients g;
    natrix::FloatTensors sum;
    double loss = 0;
    for (size_t c = states.size(); c-- > 0; loss += g.loss, natrix::accumulate(sum, g.parameters))
      g = run(c * chunk, states[c], g.dstate);
    std::cout << "step " << step << " loss " << loss << " norm " << optimizer.step(sum, 1e-3) << '\n';
  }
  model.save(argv[3]);
} catch (const natrix::Error& e) {
  return std::cerr << e.what() << '\n', e.exit_status();
}
