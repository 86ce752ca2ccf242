package server

// Route is a route as a test sees it.
type Route struct{ Path, Action string }

// Routes lists all of them.
func Routes() []Route {
	var list []Route
	for _, r := range routes() {
		list = append(list, Route{r.path, r.action})
	}
	return list
}
