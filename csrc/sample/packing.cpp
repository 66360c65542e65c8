#include "sample/packing.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace midigpt::sample {

namespace {

constexpr std::int64_t kIgnoredLabel = -100;  // records.IGNORED_LABEL
constexpr std::int32_t kPaddingDocument = -1;

}  // namespace

void best_fit_decreasing(const std::int64_t* lengths, std::int64_t num_documents, std::int64_t num_rows,
                         std::int64_t row_length, std::int32_t* row_of_document) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(num_documents));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [lengths](std::int64_t a, std::int64_t b) { return lengths[a] > lengths[b]; });

  using Room = std::pair<std::int64_t, std::int32_t>;  // tokens left, row
  std::vector<Room> rooms;                             // ascending
  rooms.reserve(static_cast<std::size_t>(num_rows));
  for (std::int64_t row = 0; row < num_rows; ++row) rooms.emplace_back(row_length, static_cast<std::int32_t>(row));

  for (const std::int64_t document : order) {
    const auto best = std::lower_bound(rooms.begin(), rooms.end(), Room{lengths[document], -1});
    if (best == rooms.end()) {
      row_of_document[document] = -1;
      continue;
    }
    row_of_document[document] = best->second;
    const Room left{best->first - lengths[document], best->second};
    const auto place = std::lower_bound(rooms.begin(), best, left);
    std::move_backward(place, best, best + 1);
    *place = left;
  }
}

bool documents_fit(const Documents& documents, std::int64_t num_tokens, const Rows& rows) {
  if (documents.offsets[0] < 0 || documents.offsets[documents.count] > num_tokens) return false;
  std::vector<std::int64_t> used(static_cast<std::size_t>(rows.num_rows), 0);
  for (std::int64_t document = 0; document < documents.count; ++document) {
    const std::int64_t begin = documents.offsets[document];
    const std::int64_t end = documents.offsets[document + 1];
    const std::int32_t row = documents.row[document];
    // Compared before they are subtracted: a wrong caller's difference may not fit.
    if (end < begin || end > num_tokens || row < -1 || row >= rows.num_rows) return false;
    if (row < 0) continue;
    std::int64_t& of_row = used[static_cast<std::size_t>(row)];
    if (end - begin > rows.row_length - of_row) return false;
    of_row += end - begin;
  }
  return true;
}

void fill_rows(const Documents& documents, const Rows& rows) {
  std::vector<std::int64_t> used(static_cast<std::size_t>(rows.num_rows), 0);
  std::vector<std::int32_t> count(static_cast<std::size_t>(rows.num_rows), 0);
  for (std::int64_t document = 0; document < documents.count; ++document) {
    const std::int64_t begin = documents.offsets[document];
    const std::int64_t length = documents.offsets[document + 1] - begin;
    if (documents.row[document] < 0 || length == 0) continue;
    const auto row = static_cast<std::size_t>(documents.row[document]);
    const std::int64_t at = documents.row[document] * rows.row_length + used[row];
    const std::int32_t* tokens = documents.tokens + begin;
    std::copy(tokens, tokens + length, rows.input_ids + at);
    std::copy(tokens + 1, tokens + length, rows.labels + at);
    rows.labels[at + length - 1] = kIgnoredLabel;
    if (documents.positions == nullptr) {
      std::iota(rows.position_ids + at, rows.position_ids + at + length, 0);
    } else {
      std::copy_n(documents.positions + begin, length, rows.position_ids + at);
    }
    std::fill(rows.document_ids + at, rows.document_ids + at + length, count[row]++);
    std::copy(documents.role + begin, documents.role + begin + length, rows.role + at);
    used[row] += length;
  }
  for (std::int64_t row = 0; row < rows.num_rows; ++row) {
    const std::int64_t begin = row * rows.row_length + used[static_cast<std::size_t>(row)];
    const std::int64_t end = (row + 1) * rows.row_length;
    std::fill(rows.input_ids + begin, rows.input_ids + end, 0);
    std::fill(rows.labels + begin, rows.labels + end, kIgnoredLabel);
    std::fill(rows.position_ids + begin, rows.position_ids + end, 0);
    std::fill(rows.document_ids + begin, rows.document_ids + end, kPaddingDocument);
    std::fill(rows.role + begin, rows.role + end, std::uint8_t{0});
  }
}

}  // namespace midigpt::sample
