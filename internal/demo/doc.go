// Package demo is the origin behind `cacheproxy serve --demo`: a small shop with
// pages, an API, a login and a picture, made so that one can watch a cache work.
//
// Every page says when it was made and how often the origin has been asked, so
// a stored copy is told from a new one at a glance. POST /admin/down lets the
// origin go away and come back, to see stale responses served in between.
// [Tour] is the list of commands to try.
package demo
