// What the fallback needs to know of an operation, worked out once from its schema and tags.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <string>
#include <vector>

namespace storm::sim {

// How much an operation computes and how much memory it moves; see op_work.h.
enum class CostRule {
  everything_once,  // reads its inputs and writes its outputs
  product,          // of the first two matrices
  added_product,    // of the second and third argument, added to the first
  gathered,         // reads only what it picks: as much as it writes
  two_passes,       // reads and writes everything twice
};

struct OpPlan {
  explicit OpPlan(const c10::OperatorHandle& op);

  // Raises NotImplementedError, naming the operation and the reason, if it cannot work.
  void check_supported() const;

  std::string name;                // "aten::add.out"
  std::string refusal;             // empty if the operation can work
  std::vector<int> alias_of;       // per return: the argument handed back, or -1 for a fresh value
  std::vector<char> is_out;        // per argument
  std::vector<char> is_written;    // per argument; outputs too
  std::vector<char> list_return;   // per return: a list of tensors
  std::vector<int> written_lists;  // arguments whose tensors' versions the kernel itself moves
  std::vector<std::string> argument_names;
  bool any_out = false;
  bool fresh_returns = false;    // at least one return is not an argument
  bool must_wait = false;        // the host needs the result's values or shapes
  bool depends_on_data = false;  // what it returns, or its shape, does by nature
  CostRule cost = CostRule::everything_once;
  int generator = -1;               // the argument that is one
  bool seeded = false;              // draws random numbers
  bool takes_host_indices = false;  // CPU tensors of any size are welcome, as on CUDA
};

// Plans live for ever: kernels refer to their names.
const OpPlan& plan_of(const c10::OperatorHandle& op);

}  // namespace storm::sim
