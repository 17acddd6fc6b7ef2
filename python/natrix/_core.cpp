// natrix._core: the C++ API (include/natrix/natrix.h) for Python. natrix/__init__.py documents what users call.
//
// Arrays. A result's memory is moved into the NumPy array that owns it; arguments are read where they lie. No array
// is a view into a model or a session, so objects may be deleted in any order.
//
// Threads. The interpreter's lock is released while the library works, and taken for callbacks.
#include <map>
#include <memory>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <natrix/natrix.h>
#include <utility>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Unlocked = nb::call_guard<nb::gil_scoped_release>;
using Ids = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using IdRows = nb::ndarray<const int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
template <class T>
using Array = nb::ndarray<nb::numpy, T>;

std::span<const int64_t> span_of(const Ids& ids) {
  return {ids.data(), ids.size()};
}

/// Moves `values` into an array that owns them.
template <class T>
Array<T> array_of(std::vector<T>&& values, const std::vector<int64_t>& shape) {
  auto* owned = new std::vector<T>(std::move(values));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  const std::vector<size_t> extents(shape.begin(), shape.end());
  return Array<T>(owned->data(), extents.size(), extents.data(), owner);
}
template <class T>
Array<T> array_of(std::vector<T>&& values) {
  const auto count = static_cast<int64_t>(values.size());
  return array_of(std::move(values), {count});
}

nb::dict dict_of(natrix::FloatTensors&& tensors) {
  nb::dict named;
  for (natrix::FloatTensor& t : tensors)
    named[nb::str(t.name.c_str(), t.name.size())] = array_of(std::move(t.values), t.shape);
  return named;
}

natrix::FloatTensors tensors_of(const nb::dict& named) {
  natrix::FloatTensors tensors;
  for (const auto& [name, value] : named) {
    const auto array = nb::cast<Floats>(value);
    natrix::FloatTensor t{.name = nb::cast<std::string>(name), .shape = {}, .values = {}};
    for (size_t i = 0; i < array.ndim(); ++i) t.shape.push_back(static_cast<int64_t>(array.shape(i)));
    t.values.assign(array.data(), array.data() + array.size());
    tensors.push_back(std::move(t));
  }
  return tensors;
}

nb::tuple score(const natrix::LanguageModel& model, const IdRows& tokens) {
  const auto rows = static_cast<int64_t>(tokens.shape(0)), length = static_cast<int64_t>(tokens.shape(1));
  natrix::Scores scores;
  {
    const nb::gil_scoped_release unlocked;
    scores = model.score({tokens.data(), tokens.size()}, rows);
  }
  return nb::make_tuple(scores.loss, array_of(std::move(scores.logits), {rows, length, model.vocab_size()}));
}

nb::tuple gradients(const natrix::LanguageModel& model, const IdRows& tokens,
                    const std::optional<IdRows>& targets, std::optional<double> divisor,
                    const nb::dict& state, const nb::dict& dstate) {
  natrix::GradientOptions options{.rows = static_cast<int64_t>(tokens.shape(0)), .divisor = divisor};
  if (targets) options.targets = {targets->data(), targets->size()};
  options.state = tensors_of(state);
  options.dstate = tensors_of(dstate);
  natrix::Gradients g;
  {
    const nb::gil_scoped_release unlocked;
    g = model.gradients({tokens.data(), tokens.size()}, options);
  }
  return nb::make_tuple(g.loss, g.predictions, dict_of(std::move(g.parameters)), dict_of(std::move(g.dstate)),
                        dict_of(std::move(g.state)));
}

natrix::LanguageModel open_model(const std::string& path, const std::string& backend,
                                 const std::string& dtype, const std::string& weights,
                                 const std::string& tokenizer, int threads, int64_t chunk, bool trainable,
                                 const std::function<void(const std::string&)>& warn) {
  return natrix::open(path, {.backend = backend,
                             .dtype = dtype,
                             .weights = weights,
                             .tokenizer = tokenizer,
                             .threads = threads,
                             .chunk = chunk,
                             .trainable = trainable,
                             .warn = warn});
}

std::string_view text_of(const nb::bytes& text) {
  return {text.c_str(), text.size()};
}

nb::bytes bytes_of(const std::string& text) {
  return nb::bytes(text.data(), text.size());
}

/// Raises natrix.InputError for what the caller gave, else natrix.Error.
void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const natrix::Error& e) {
    const nb::object type =
        nb::module_::import_("natrix._errors").attr(e.exit_status() == 2 ? "InputError" : "Error");
    PyErr_SetString(type.ptr(), e.what());
  }
}

void bind_model(nb::module_& m) {
  nb::class_<natrix::LanguageModel>(m, "LanguageModel")
      .def_prop_ro("vocab_size", &natrix::LanguageModel::vocab_size)
      .def_prop_ro("backend", &natrix::LanguageModel::backend)
      .def_prop_ro("directory", &natrix::LanguageModel::directory)
      .def_prop_ro("end_of_text", [](const natrix::LanguageModel& model) { return model.end_of_text(); })
      .def(
          "tokenize",
          [](const natrix::LanguageModel& model, const nb::bytes& text) {
            return array_of(model.tokenize(text_of(text)));
          },
          "text"_a)
      .def(
          "detokenize",
          [](const natrix::LanguageModel& model, const Ids& ids) {
            return bytes_of(model.detokenize(span_of(ids)));
          },
          "ids"_a)
      .def("session", &natrix::LanguageModel::session, Unlocked())
      .def("score", &score, "tokens"_a)
      .def("gradients", &gradients, "tokens"_a, "targets"_a.none(), "divisor"_a.none(), "state"_a, "dstate"_a)
      .def("parameters", [](const natrix::LanguageModel& model) { return dict_of(model.parameters()); })
      .def(
          "set_parameters",
          [](natrix::LanguageModel& model, const nb::dict& values) {
            model.set_parameters(tensors_of(values));
          },
          "values"_a)
      .def("save", &natrix::LanguageModel::save, "directory"_a, Unlocked());
  m.def("open", &open_model, "path"_a, "backend"_a, "dtype"_a, "weights"_a, "tokenizer"_a, "threads"_a,
        "chunk"_a, "trainable"_a, "warn"_a.none(), Unlocked());
}

void bind_session(nb::module_& m) {
  nb::class_<natrix::GenerateOptions>(m, "GenerateOptions")
      .def(
          "__init__",
          [](natrix::GenerateOptions* self, int64_t tokens, double temp, int64_t top_k, double top_p,
             double min_p, double repeat_penalty, uint64_t seed, bool ignore_eos,
             std::vector<std::string> stop, std::vector<int64_t> stop_ids,
             std::map<int64_t, double> logit_bias) {
            new (self) natrix::GenerateOptions{.tokens = tokens,
                                               .temp = temp,
                                               .top_k = top_k,
                                               .top_p = top_p,
                                               .min_p = min_p,
                                               .repeat_penalty = repeat_penalty,
                                               .seed = seed,
                                               .ignore_eos = ignore_eos,
                                               .stop = std::move(stop),
                                               .stop_ids = std::move(stop_ids),
                                               .logit_bias = std::move(logit_bias)};
          },
          nb::kw_only(), "tokens"_a, "temp"_a, "top_k"_a, "top_p"_a, "min_p"_a, "repeat_penalty"_a, "seed"_a,
          "ignore_eos"_a, "stop"_a, "stop_ids"_a, "logit_bias"_a);
  nb::class_<natrix::TextWriter>(m, "TextWriter").def("next", [](natrix::TextWriter& writer) {
    std::optional<std::string> piece;
    {
      const nb::gil_scoped_release unlocked;
      piece = writer.next();
    }
    return piece ? std::optional<nb::bytes>(bytes_of(*piece)) : std::nullopt;
  });
  nb::class_<natrix::TextSession>(m, "TextSession")
      .def(
          "read",
          [](natrix::TextSession& session, const nb::bytes& text) {
            const std::string_view view = text_of(text);
            const nb::gil_scoped_release unlocked;
            session.read(view);
          },
          "text"_a)
      .def(
          "read_tokens",
          [](natrix::TextSession& session, const Ids& ids) {
            const nb::gil_scoped_release unlocked;
            session.read_tokens(span_of(ids));
          },
          "ids"_a)
      .def_prop_ro("position", &natrix::TextSession::position)
      .def("logits",
           [](natrix::TextSession& session) {
             std::vector<float> logits;
             {
               const nb::gil_scoped_release unlocked;
               logits = session.logits();
             }
             return array_of(std::move(logits));
           })
      .def("writer", &natrix::TextSession::writer, "options"_a, nb::keep_alive<0, 1>())
      .def_prop_ro("finish_reason",
                   [](const natrix::TextSession& session) { return session.finish().reason; })
      .def("save", &natrix::TextSession::save, "path"_a, Unlocked())
      .def("load", &natrix::TextSession::load, "path"_a, Unlocked())
      .def("fork", &natrix::TextSession::fork, Unlocked());
}

void bind_optimizer(nb::module_& m) {
  nb::class_<natrix::AdamWOptimizer>(m, "AdamWOptimizer")
      .def(
          "__init__",
          [](natrix::AdamWOptimizer* self, const natrix::LanguageModel& model, double beta1, double beta2,
             double eps, double weight_decay, double clip_grad_norm) {
            new (self) natrix::AdamWOptimizer(model, {.beta1 = beta1,
                                                      .beta2 = beta2,
                                                      .eps = eps,
                                                      .weight_decay = weight_decay,
                                                      .clip_grad_norm = clip_grad_norm});
          },
          "model"_a, "beta1"_a, "beta2"_a, "eps"_a, "weight_decay"_a, "clip_grad_norm"_a)
      .def(
          "step",
          [](natrix::AdamWOptimizer& optimizer, const nb::dict& gradients, double lr) {
            const natrix::FloatTensors tensors = tensors_of(gradients);
            const nb::gil_scoped_release unlocked;
            return optimizer.step(tensors, lr);
          },
          "gradients"_a, "lr"_a);
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The C++ API of Natrix; use the package natrix.";
  nb::register_exception_translator(translate);
  bind_model(m);
  bind_session(m);
  bind_optimizer(m);
}
