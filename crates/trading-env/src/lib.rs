//! What happens in one step: rules, account, costs, reward; and many environments at once over rayon.
