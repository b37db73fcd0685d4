/// The lower layers of an overlay (--lower DIR, topmost first), to find what an upper directory
/// with redirect_dir or metacopy leaves out. Lookup as in the kernel (fs/overlayfs/namei.c): layer
/// by layer downwards; a whiteout, a non-directory or an opaque directory ends it; overlay.redirect
/// changes the name (a plain name) or the path from the layers' root (starting with '/') for the
/// layers below.
#pragma once

#include "layer/dir_handle.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zl {

class Lowers {
public:
    /// Opens the roots. Throws not_found naming the one that is no directory.
    explicit Lowers(const std::vector<std::string>& dirs);
    bool empty() const { return roots_.empty(); }

    /// Directories merged with the directory @p name of @p parent, topmost first, from the layers
    /// below @p parent's; they get the tar prefix @p prefix. Thread-safe, like the rest.
    std::vector<DirPtr> merged_dirs(DirHandle& parent, std::string_view name,
                                    const std::optional<std::string>& redirect,
                                    std::shared_ptr<const std::string> prefix) const;
    /// Opens the data of the metacopy file @p name of @p parent; false: no layer has it.
    bool open_data(DirHandle& parent, std::string_view name,
                   const std::optional<std::string>& redirect, UniqueFd& fd) const;

private:
    struct Target {
        std::vector<std::string> path; ///< one component, or more after an absolute redirect
        bool from_root = false;
        bool is_final = false; ///< nothing shows through from further down
    };
    /// Called with the directory that may hold @p last; may redirect target for the layers below.
    using Visit =
        std::function<void(std::size_t layer, int dir_fd, const std::string& last, Target& target)>;

    static void redirect_component(Target& target, std::size_t index, const std::string& redirect);
    void search(DirHandle& parent, std::string_view name,
                const std::optional<std::string>& redirect, const Visit& visit) const;
    static void search_layer(std::size_t layer, int base_fd, Target& target, const Visit& visit);
    const std::vector<DirPtr>& below(DirHandle& dir) const;

    std::vector<DirPtr> roots_; ///< roots_[i] is layer i + 1
};

} // namespace zl
