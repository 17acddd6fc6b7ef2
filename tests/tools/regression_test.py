"""bench/regression.py: what counts as slower, and what cannot be compared."""
import contextlib
import copy
import io
import json
import pathlib
import sys
import tempfile
import unittest

repository = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(repository / "bench"))
import regression  # noqa: E402

RESULT = {"processor": "some", "rows": [{"row": "scan", "threads": 1, "percent_of_ceiling": 50.0},
                                        {"row": "scan", "threads": 2, "percent_of_ceiling": 40.0},
                                        {"row": "decode", "threads": 1, "percent_of_ceiling": 80.0}]}


class Regression(unittest.TestCase):
    def compare(self, after, *options, before=RESULT):
        """Exit status, stdout, stderr."""
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / name for name in ("before.json", "after.json")]
            for path, result in zip(paths, (before, after)):
                path.write_text(result if isinstance(result, str) else json.dumps(result))
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    status = regression.main([str(p) for p in paths] + list(options))
                except SystemExit as e:
                    status = e.code
            return status, out.getvalue(), err.getvalue()

    def changed(self, row, share):
        result = copy.deepcopy(RESULT)
        result["rows"][row]["percent_of_ceiling"] = share
        return result

    def test_equal_results_pass(self):
        status, out, err = self.compare(RESULT)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.count("+0.0%"), 3)

    def test_slower_beyond_the_tolerance_fails_and_is_named(self):
        status, out, _ = self.compare(self.changed(1, 38.0))  # 5 % slower
        self.assertEqual(status, 1)
        slower = [line for line in out.splitlines() if "SLOWER" in line]
        self.assertEqual(len(slower), 1)
        self.assertIn("-5.0%", slower[0])
        self.assertEqual(slower[0].split()[:2], ["scan", "2"])

    def test_tolerance_is_relative_to_what_the_row_was(self):
        self.assertEqual(self.compare(self.changed(0, 48.6))[0], 0)  # 2.8 %, though 1.4 points
        self.assertEqual(self.compare(self.changed(0, 48.4))[0], 1)  # 3.2 %, though 1.6 points
        self.assertEqual(self.compare(self.changed(0, 48.4), "--tolerance", "4")[0], 0)
        self.assertEqual(self.compare(self.changed(0, 49.9), "--tolerance", "0")[0], 1)

    def test_faster_passes(self):
        self.assertEqual(self.compare(self.changed(2, 99.0))[0], 0)

    def test_rows_of_one_file_are_named_and_do_not_count(self):
        status, out, err = self.compare({**RESULT, "rows": RESULT["rows"][:2]})
        self.assertEqual(status, 0)
        self.assertIn("decode", err)
        self.assertNotIn("decode", out)

    def test_rows_are_chosen_by_name(self):
        self.assertEqual(self.compare(self.changed(0, 10.0), "--rows", "^decode")[0], 0)

    def test_other_processors_are_compared_with_a_warning(self):
        status, _, err = self.compare({**RESULT, "processor": "other"})
        self.assertEqual(status, 0)
        self.assertIn("processors differ", err)

    def test_what_cannot_be_compared_ends_with_2(self):
        other = {"processor": "some", "rows": [{"row": "x", "threads": 1, "percent_of_ceiling": 1.0}]}
        for after in ("{", "[]", "{}", {"rows": []}, {**RESULT, "rows": []}, other, self.changed(0, 0.0),
                      self.changed(0, None), self.changed(0, float("nan"))):
            status, out, err = self.compare(after)
            self.assertEqual((status, out), (2, ""), after)
            self.assertTrue(err.startswith("regression.py: "), err)
        self.assertEqual(self.compare(RESULT, "--tolerance", "100")[0], 2)

    def test_results_of_this_repository_can_be_read(self):
        for path in sorted((repository / "bench/results").glob("*.json")):
            if path.name.startswith("ranks-"):
                continue
            shares, processor = regression.read(path, regression.re.compile(""))
            self.assertTrue(shares and processor, path)


if __name__ == "__main__":
    unittest.main()
