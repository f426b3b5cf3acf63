#include <cuda_runtime.h>

#include <memory>
#include <vector>

namespace emulation {
namespace {

constexpr std::size_t kStack = 64 << 10;

struct Fiber {
    ucontext_t context{};
    std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStack);
    bool done = false;
};

ucontext_t scheduler;
std::vector<Fiber> fibers;
std::size_t current = 0;
const std::function<void()>* kernel = nullptr;

void enter() {
    (*kernel)();
    fibers[current].done = true;
    swapcontext(&fibers[current].context, &scheduler);
}

void resume(std::size_t index) {
    current = index;
    thread = {static_cast<unsigned>(index), 0, 0};
    swapcontext(&scheduler, &fibers[index].context);
}

void run_block(std::size_t threads) {
    for (std::size_t i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        fiber.done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = kStack;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
    }
    for (bool running = true; running;) {
        running = false;
        for (std::size_t i = 0; i < threads; ++i) {
            if (!fibers[i].done) resume(i);
            running = running || !fibers[i].done;
        }
    }
}

}  // namespace

void synchronize() {
    swapcontext(&fibers[current].context, &scheduler);
}

void run(dim3 grid, dim3 threads, const std::function<void()>& body) {
    kernel = &body;
    if (fibers.size() < threads.x) fibers = std::vector<Fiber>(threads.x);
    for (block.y = 0; block.y < grid.y; ++block.y) {
        for (block.x = 0; block.x < grid.x; ++block.x) run_block(threads.x);
    }
}

}  // namespace emulation
