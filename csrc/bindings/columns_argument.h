// Score columns that come from Python.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "bindings/arrays.h"
#include "score/columns.h"

namespace midigpt::bindings {

// The columns of a midigpt_core.records.ScoreColumns, of the types and lengths that the table of columns says. What is
// in them is not looked at: who follows an offset or an end checks it.
class ColumnsArgument {
 public:
  // With copies, the last offsets are the lengths of the columns. Throws TypeError or ValueError naming the column that
  // does not fit.
  explicit ColumnsArgument(py::object record, Fields::Keep keep = Fields::Keep::References)
      : fields_(std::move(record), keep) {
    score::Columns& columns = bounded_.columns;
    columns.resolution = fields_.get("resolution").cast<std::int32_t>();
    std::array<std::int64_t, score::kLevels> lengths{};
    lengths.fill(-1);
    // The first column of a level says how long the others are; where all is checked, the offsets say it.
    std::size_t level = score::index_of(score::Level::Track);
    score::for_each_column(columns, [&](auto column, auto*& values) {
      std::int64_t& length = lengths.at(score::index_of(column.kLevel));
      values = column.may_be_missing() && fields_.get(column.name).is_none()
                   ? nullptr
                   : fields_.template array<typename decltype(column)::Value>(column.name, {length}, &length);
      if constexpr (decltype(column)::kLevel == score::Level::Offsets) {
        if (length < 1) throw py::value_error(std::string(column.name) + " is empty; even no pieces have one offset");
        lengths.at(score::index_of(score::Level::Piece)) = length - 1;
        if (keep == Fields::Keep::Copies) {
          // A negative end is no length; that the offsets in between ascend is checked where they are followed.
          // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): no column of offsets may be missing
          if (values[0] != 0 || values[length - 1] < 0) {
            throw py::value_error(std::string(column.name) + " must start at 0");
          }
          lengths.at(level++) = values[length - 1];
        }
      }
    });
    columns.num_pieces = lengths.at(score::index_of(score::Level::Piece));
    bounded_.num_tracks = lengths.at(score::index_of(score::Level::Track));
    bounded_.num_bars = lengths.at(score::index_of(score::Level::Bar));
    bounded_.num_cells = lengths.at(score::index_of(score::Level::Cell));
    bounded_.num_notes = lengths.at(score::index_of(score::Level::Note));
  }

  [[nodiscard]] const score::BoundedColumns& bounded() const { return bounded_; }
  [[nodiscard]] std::int64_t num_pieces() const { return bounded_.columns.num_pieces; }

 private:
  Fields fields_;
  score::BoundedColumns bounded_;
};

}  // namespace midigpt::bindings
